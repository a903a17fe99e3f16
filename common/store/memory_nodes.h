// For tests: manifest nodes in memory, and how often they were asked for.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/crypto/digest.h"
#include "common/store/manifest.h"

namespace bailiwick::store {

class MemoryNodes : public NodeSource {
 public:
  absl::StatusOr<std::shared_ptr<const Node>> Load(const Digest& digest) override {
    ++loads;
    auto it = nodes.find(digest);
    if (it == nodes.end()) return absl::NotFoundError("no node");
    auto node = DecodeNode(it->second);
    if (!node.ok()) return node.status();
    return std::make_shared<const Node>(*std::move(node));
  }
  NodeSink Sink() {
    return [this](const Digest& d, std::string_view encoded) {
      ++written;
      EXPECT_EQ(crypto::Sha256(encoded), d);
      EXPECT_LE(encoded.size(), kMaxNodeBytes);
      nodes[d] = std::string(encoded);
      return absl::OkStatus();
    };
  }
  std::map<Digest, std::string> nodes;
  int loads = 0;
  int written = 0;
};

}  // namespace bailiwick::store
