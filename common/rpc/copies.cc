#include "common/rpc/copies.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"

namespace bailiwick::rpc {
namespace {

constexpr uint32_t kFormat = 1;

}  // namespace

std::string EncodeCopyStatement(const CopyStatement& statement) {
  agent::v1::CopyStatement s;
  s.set_format(kFormat);
  s.set_dataset_id(statement.dataset_id.str());
  s.set_dataset(statement.dataset);
  s.set_site(statement.site);
  s.set_agent(statement.agent);
  for (const VersionRef& version : statement.versions) ToProto(version, s.add_versions());
  ToProto(statement.at, s.mutable_at());
  return s.SerializeAsString();
}

absl::StatusOr<CopyStatement> OpenCopyStatement(const crypto::Envelope& envelope, const policy::World& world) {
  agent::v1::CopyStatement s;
  if (!s.ParseFromString(envelope.payload)) return absl::PermissionDeniedError("the statement cannot be read");
  BW_ASSIGN_OR_RETURN(std::string key, PinnedAgentKey("the statement", s.agent(), s.site(), world));
  BW_RETURN_IF_ERROR(Annotate(crypto::VerifyEnvelope(envelope, crypto::kCopyType, {key}), "statement"));
  if (s.format() != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat("statement format ", s.format(), " is not known here"));
  }
  if (!s.has_at()) return absl::InvalidArgumentError("a statement without its time");
  CopyStatement out;
  BW_ASSIGN_OR_RETURN(out.dataset_id, DatasetId::From(s.dataset_id()));
  out.dataset = s.dataset();
  out.site = s.site();
  out.agent = s.agent();
  for (const auto& version : s.versions()) {
    BW_ASSIGN_OR_RETURN(VersionRef ref, FromProto(version));
    out.versions.push_back(ref);
  }
  BW_ASSIGN_OR_RETURN(out.at, TimeOf(s.at()));
  return out;
}

}  // namespace bailiwick::rpc
