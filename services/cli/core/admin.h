// What every admin command stands on: the context (who am I, which coordinator, which policy keys), the connections,
// and the signed change of the catalog. Commands and `dev` call these; nothing here prints.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bailiwick/agent/v1/admin.grpc.pb.h"
#include "bailiwick/control/v1/control.grpc.pb.h"
#include "common/config/world.h"
#include "common/config/yaml.h"
#include "common/rpc/proxy.h"
#include "services/cli/core/context.h"

namespace bailiwick::cli {

class Admin {
 public:
  static absl::StatusOr<std::unique_ptr<Admin>> Connect(const Context& context);
  // Over a channel to the coordinator that is there already.
  static std::unique_ptr<Admin> Over(const Context& context, const std::shared_ptr<grpc::Channel>& channel);
  const Context& context() const { return context_; }
  const rpc::Proxy& proxy() const { return proxy_; }
  control::v1::Control::Stub& control() { return *control_; }
  // mTLS to an agent's admin port, expecting exactly this SPIFFE id.
  absl::StatusOr<std::unique_ptr<agent::v1::AgentAdmin::Stub>> Agent(const std::string& admin_endpoint,
                                                                     const std::string& spiffe_id);
  // A context with a deadline (default 30 s) for one unary call.
  static std::unique_ptr<grpc::ClientContext> Call(absl::Duration timeout = absl::Seconds(30));
  // When the call did not get through, a sentence that names `who` and the remedy. What the other side says itself
  // stays as it is.
  static absl::Status Error(const grpc::Status& status, const std::string& who = "the coordinator");
  absl::Status Check(const grpc::Status& status) const;  // of a call to the coordinator, named with its address

  // What an act would do, by the coordinator's own checks. FAILED_PRECONDITION: its build is too old to say; else as
  // the act.
  absl::StatusOr<control::v1::DryRunResponse> Try(const control::v1::DryRunRequest& request);

  // The verified bundle (root hash of the context); an empty one with revision 0 when there is none yet.
  absl::StatusOr<config::Bundle> ReadBundle();
  absl::StatusOr<std::vector<config::Classification>> ReadClassifications(const policy::World& world);
  // All of it: what is in force, or one revision of the past (bundle only), verified by the chain of roots.
  struct Policy {
    config::Bundle bundle;  // revision 0: none yet
    crypto::Envelope envelope;
    config::RootChain roots;
    std::vector<crypto::Envelope> records;
  };
  absl::StatusOr<Policy> ReadPolicy(uint64_t revision = 0);
  // Puts the newest root in place of the one that the context pins, durably: what older keys sign counts no more here.
  absl::Status MovePin(const Policy& policy);

 private:
  Context context_;
  rpc::Proxy proxy_;
  std::unique_ptr<control::v1::Control::Stub> control_;
};

// What a bundle says besides resources. Unset: as it was.
struct LawChange {
  bool renew = false;  // sign a new bundle though nothing else changes
  std::optional<absl::Duration> max_age, timestamp_life;
  std::optional<config::PolicyRoot> root;             // the next one; its number is set here
  std::vector<resource::v1::Classifier> classifiers;  // added, or in place of the one with the same key
  std::vector<std::string> remove_classifiers;        // raw keys
  bool any() const {
    return renew || max_age || timestamp_life || root || !classifiers.empty() || !remove_classifiers.empty();
  }
};

struct CatalogChange {
  std::vector<config::Located> upserts;
  std::vector<control::v1::ResourceName> deletes;
  std::vector<resource::v1::EnrolmentKey> pin;  // enrolment keys to add to the bundle
  LawChange law;
};
struct ChangeReport {
  struct Line {
    std::string kind, name, change;  // created, changed, unchanged, deleted
    std::string diff;                // unified diff of the YAML, for changed
  };
  std::vector<Line> lines;
  uint64_t policy_revision = 0;
  bool applied = false;
  std::string pending;      // whose signatures it waits for, or would; empty: nobody's
  std::vector<std::string> warnings;  // what the change gives up, a sentence each
  std::string outdated_by;  // whose change waited for signatures and is gone by this one; empty: nobody's
};
// Reads the catalog, validates the result as a whole, signs a new bundle when the law changes and classification
// records for datasets that are new, relabelled or moved, and applies it in one transaction. Nothing to change: applied
// stays false. With fewer signatures than the root asks for it waits at the coordinator, and `pending` says for whose.
// Retries once when somebody else applied meanwhile; then ABORTED. With `expected_evictions` the coordinator counts
// what it makes unlawful at the moment of applying: FAILED_PRECONDITION when that is another number.
// kTry: the coordinator checks it all, but for the signatures, which are kept back; kCompare: nobody is asked whether
// it may be.
enum class Extent { kApply, kTry, kCompare };
absl::StatusOr<ChangeReport> ApplyChange(Admin& admin, const CatalogChange& change, Extent extent,
                                         std::optional<uint64_t> expected_evictions = std::nullopt);

// "bwl1...." for bailiwick login. Empty when it waits for a second person, and `proposal` is what to approve.
absl::StatusOr<std::string> MakeLoginString(Admin& admin, const std::string& person, absl::Duration ttl,
                                            control::v1::Proposal* proposal);
std::string LoginString(const Context& context, const control::v1::GetInfoResponse& info, const std::string& person,
                        const std::string& token);
// Spends a login string: credentials and a context in `directory`, which must not hold a context yet (ALREADY_EXISTS;
// with `replace` it may: its policy keys and its way out stay unless others are given, and what works is replaced only
// by what works). The person's name.
absl::StatusOr<std::string> Login(const std::string& login, const std::string& directory, bool replace,
                                  const std::vector<std::string>& policy_keys, const rpc::Proxy::Settings& way_out);
// All of it but the spending: whether the string is one, whether the coordinator that it pins answers, what is there
// already. What would be so.
absl::StatusOr<std::vector<std::string>> TryLogin(const std::string& login, const std::string& directory, bool replace,
                                                  const rpc::Proxy::Settings& way_out);

// "bwj1...." for bailiwick-agent join.
absl::StatusOr<std::string> MakeJoinString(Admin& admin, const std::string& site, absl::Duration ttl);
// The machine that joined as a site, whose key the law does not pin.
struct Approval {
  resource::v1::EnrolmentKey pin;
  std::string replaces;    // raw key that the law pins now; empty: none
  bool connected = false;  // the machine with that key is
};
// Of these sites those that wait for it; of none named every site that has no other machine. NOT_FOUND: no such site.
// FAILED_PRECONDITION: nobody joined as a named one.
absl::StatusOr<std::vector<Approval>> FindApprovals(Admin& admin, const std::vector<std::string>& sites);
// Pins their keys; each takes the place of the machine before it.
absl::StatusOr<ChangeReport> Approve(Admin& admin, const std::vector<Approval>& approvals,
                                     Extent extent = Extent::kApply);

}  // namespace bailiwick::cli
