#include "common/rpc/handshake_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/identity/verify.h"

namespace bailiwick::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HandshakeWatch, TellsWhyAndOnlyOfHandshakes) {
  std::vector<std::string> codes, sentences;
  {
    HandshakeWatch watch([&](const absl::Status& why) {
      codes.push_back(identity::RefusalCode(why));
      sentences.emplace_back(why.message());
    });
    HandshakeWatch::Saw("Handshake failed with fatal error SSL_ERROR_SSL: error:0A0000C7:SSL routines::peer did not return a certificate.");
    HandshakeWatch::Saw("Handshake failed with fatal error SSL_ERROR_SSL: error:0A0000C1:SSL routines::no shared \n cipher.");
    HandshakeWatch::Saw("Handshake failed with fatal error ");
    HandshakeWatch::Saw("something else");
    HandshakeWatch::Saw("");
  }
  HandshakeWatch::Saw("Handshake failed with fatal error SSL_ERROR_SSL: too late");
  EXPECT_THAT(codes, ElementsAre("NO_CERTIFICATE", "TLS_FAILED", "TLS_FAILED"));
  EXPECT_THAT(sentences[1], HasSubstr("no shared ? cipher"));
}

}  // namespace
}  // namespace bailiwick::rpc
