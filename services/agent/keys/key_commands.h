// `bailiwick-agent key ...`: the wrapping keys of a site, as its operator handles them. They work beside a running
// agent: it notices new keys when the next policy arrives, at the latest after ten minutes.
#pragma once

#include <map>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "common/os/random.h"
#include "common/output/output.h"

namespace bailiwick::agent {

// How many datasets each wrapping key protects, by the key files in their directories, also a key that is missing.
absl::StatusOr<std::map<std::string, int>> StorageKeyUses(os::Files* files, const std::string& data_dir);

class KeyCommands {
 public:
  // `dry_run`: what would be done is checked and said, and not done.
  KeyCommands(os::Files* files, os::Random* random, os::Clock* clock, std::string data_dir, std::string key_dir,
              std::ostream* out, bool dry_run = false)
      : files_(files),
        random_(random),
        clock_(clock),
        data_dir_(std::move(data_dir)),
        key_dir_(key_dir),
        out_(out),
        dry_run_(dry_run) {}

  // ALREADY_EXISTS: there is one; a further one comes by Rotate.
  absl::Status Generate();
  // Which keys there are and how many datasets each protects; also keys that are missing.
  absl::Status List(output::Format format);
  // A further key, and what to do so that the data keys move to it.
  absl::Status Rotate();
  // The key that `id` begins; the only one when empty. The file is new and 0600.
  absl::Status Export(const std::string& id, const std::string& file);
  absl::Status Import(const std::string& file);

 private:
  absl::Status Make();
  absl::Status Tried(const std::string& effect);

  os::Files* const files_;
  os::Random* const random_;
  os::Clock* const clock_;
  const std::string data_dir_, key_dir_;
  std::ostream* const out_;
  const bool dry_run_;
};

}  // namespace bailiwick::agent
