// Acts that are only tried.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "services/coordinator/core/core.h"

namespace bailiwick::coordinator {

void Core::RehearseChange(const Change& change, const std::string& missing, Rehearsal* dry) {
  for (const auto& r : change.upserts) {
    dry->effects.push_back(absl::StrCat(config::KindOf(r), "/", r.metadata().name(), " is as declared"));
  }
  for (const auto& [kind, name] : change.deletes) dry->effects.push_back(absl::StrCat(kind, "/", name, " is gone"));
  if (change.bundle.has_value()) {
    auto bundle = config::OpenUnsigned(*change.bundle);
    const size_t keys = bundle.ok() ? bundle->world.root_threshold : 1;
    dry->effects.push_back(absl::StrCat("the law is revision ", change.bundle_revision,
                                        keys < 2 ? "" : absl::StrCat(", once ", keys, " keys of its root have signed")));
  }
  dry->waits = missing;
}

absl::StatusOr<control::v1::DryRunResponse> Core::DryRun(const std::string& who,
                                                         const control::v1::DryRunRequest& request) {
  using Request = control::v1::DryRunRequest;
  Rehearsal dry;
  absl::Status tried = absl::InvalidArgumentError("name the act that is to be tried");
  switch (request.act_case()) {
    case Request::kApply:
      tried = Apply(who, request.apply(), &dry).status();
      break;
    case Request::kRejectPending:
      tried = RejectPending(who, request.reject_pending(), &dry).status();
      break;
    case Request::kCreateJoinToken:
      tried = CreateJoinToken(who, request.create_join_token(), &dry).status();
      break;
    case Request::kRevoke:
      tried = Revoke(who, request.revoke(), &dry).status();
      break;
    case Request::kAllowRecoveries:
      tried = AllowRecoveries(who, request.allow_recoveries(), &dry).status();
      break;
    case Request::kCreateLoginToken:
      tried = CreateLoginToken(who, request.create_login_token(), &dry).status();
      break;
    case Request::kApprove:
      tried = Approve(who, request.approve(), &dry).status();
      break;
    case Request::kWithdraw:
      tried = Withdraw(who, request.withdraw(), &dry).status();
      break;
    case Request::kRotateAuthority:
      tried = RotateAuthority(who, &dry).status();
      break;
    case Request::kPin:
      tried = Pin(who, request.pin(), &dry).status();
      break;
    case Request::kHold:
      tried = Hold(who, request.hold(), &dry).status();
      break;
    case Request::kRelease:
      tried = Release(who, request.release(), &dry).status();
      break;
    case Request::kRedact:
      tried = Redact(who, request.redact(), &dry).status();
      break;
    case Request::ACT_NOT_SET:
      break;
  }
  BW_RETURN_IF_ERROR(tried);
  control::v1::DryRunResponse response;
  for (std::string& effect : dry.effects) response.add_effects(std::move(effect));
  response.set_waits(dry.waits);
  return response;
}

}  // namespace bailiwick::coordinator
