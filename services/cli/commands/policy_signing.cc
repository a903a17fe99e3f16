// policy pending, approve, sign, reject, rotate, refresh, delegate: who signs the law, and how it changes hands.
#include <google/protobuf/util/message_differencer.h>

#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/files.h"
#include "common/rpc/codec.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/new_file.h"
#include "services/cli/commands/policy_impact.h"
#include "services/cli/commands/yes_flag.h"
#include "services/cli/core/change.h"
#include "services/cli/core/pending.h"

namespace bailiwick::cli {
namespace {

constexpr uint64_t kMaxFile = 16 << 20;
constexpr absl::Duration kLongestMaxAge = absl::Hours(24 * 3650), kLongestTimestampLife = absl::Hours(24 * 90);
constexpr absl::Duration kShortMaxAge = absl::Hours(24), kShortTimestampLife = absl::Minutes(10);

absl::StatusOr<control::v1::GetPendingResponse> Pending(Admin& admin) {
  control::v1::GetPendingResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().GetPending(Admin::Call().get(), {}, &response)));
  if (!response.has_pending()) return absl::NotFoundError("no change of the policy waits for signatures");
  return response;
}

absl::StatusOr<control::v1::GetPendingResponse> ReadPending(const std::string& path) {
  BW_ASSIGN_OR_RETURN(std::string bytes, os::ReadFile(os::Files::System(), path, kMaxFile));
  control::v1::GetPendingResponse pending;
  if (!pending.ParseFromString(bytes) || !pending.has_request()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not a pending change; write one with: bailiwick policy pending --out FILE"));
  }
  return pending;
}

void PrintPending(const Globals& globals, const control::v1::Pending& pending, const std::string& what,
                  const std::optional<ImpactReport>& impact) {
  std::vector<Json> signers;
  std::vector<std::string> ids;
  for (const auto& id : pending.signed_key_ids()) {
    ids.push_back(std::string(absl::BytesToHexString(id)));
    signers.push_back(Text(ids.back()));
  }
  if (!globals.table()) {
    Fields fields = {{"id", Text(absl::BytesToHexString(pending.id()))},
                     {"by", Text(pending.by())},
                     {"policyRevision", Number(pending.policy_revision())},
                     {"missing", Text(pending.missing())},
                     {"outdated", Bool(pending.outdated())},
                     {"signedKeyIds", List(std::move(signers))},
                     {"changes", Text(what)}};
    if (impact) fields.push_back({"impact", impact->ToJson()});
    PrintJson(globals.format(), fields);
    return;
  }
  std::cout << what;
  if (impact) impact->Print();
  std::cout << "by " << pending.by() << ", since " << TimeText(pending.since()) << "\n"
            << (ids.empty() ? "" : absl::StrCat("signed by keys with id ", absl::StrJoin(ids, ", "), "\n"))
            << (pending.outdated() ? "outdated: another change was applied meanwhile; reject it and apply it anew"
                                   : MissingOf(pending))
            << "\n";
}

// What would happen to copies and transfers; nothing where there is no law yet.
absl::StatusOr<std::optional<ImpactReport>> ImpactOfRequest(Admin& admin, const control::v1::ApplyRequest& request) {
  CatalogChange change;
  for (const auto& resource : request.upserts()) change.upserts.push_back({resource, {}});
  change.deletes.assign(request.deletes().begin(), request.deletes().end());
  return ImpactOf(admin, change);
}

absl::Status ShowPending(const Globals& globals, const std::string& out) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(auto pending, Pending(*admin));
  uint64_t generation;
  BW_ASSIGN_OR_RETURN(Known known, ReadKnown(*admin, &generation));
  BW_ASSIGN_OR_RETURN(std::string what, DescribePending(pending.request(), known));
  std::optional<ImpactReport> impact;
  if (!pending.pending().outdated()) {
    BW_ASSIGN_OR_RETURN(impact, ImpactOfRequest(*admin, pending.request()));
  }
  if (!out.empty()) {
    auto add = [&](const config::ResourceKey& key) {
      auto it = known.resources.find(key);
      if (it != known.resources.end()) *pending.add_resources() = it->second;
    };
    for (const auto& r : pending.request().upserts()) add({config::KindOf(r), r.metadata().name()});
    for (const auto& name : pending.request().deletes()) add({name.kind(), name.name()});
    // A file that has more than this may hold signatures that exist nowhere else.
    auto there = ReadPending(out);
    if (!there.ok() || !google::protobuf::util::MessageDifferencer::Equals(*there, pending)) {
      BW_RETURN_IF_ERROR(WriteNew(out, pending.SerializeAsString()));
    }
  }
  PrintPending(globals, pending.pending(), what, impact);
  return absl::OkStatus();
}

// One's signature where the change lacks it, one's yes where it waits for a second person, then the coordinator has it.
absl::Status Submit(const Globals& globals, Admin& admin, control::v1::ApplyRequest request,
                    const ApprovalFlags& flags) {
  uint64_t generation;
  BW_ASSIGN_OR_RETURN(Known known, ReadKnown(admin, &generation));
  BW_ASSIGN_OR_RETURN(std::string what, DescribePending(request, known));
  BW_ASSIGN_OR_RETURN(const std::optional<ImpactReport> impact, ImpactOfRequest(admin, request));
  if (globals.table()) {
    std::cout << what;
    if (impact) impact->Print();
  }
  request.clear_expected_evictions();  // whoever made it counted for themselves
  if (flags.evictions.has_value()) request.set_expected_evictions(*flags.evictions);
  request.set_expected_generation(generation);
  if (flags.dry_run) {
    control::v1::DryRunRequest act;
    *act.mutable_apply() = WithoutSignatures(request);
    return TryAct(globals, admin, act);
  }
  const std::string goes = impact ? impact->Sentence() : "";
  BW_RETURN_IF_ERROR(Confirm(globals, flags.yes, absl::StrCat(goes, goes.empty() ? "" : ". ", "Approve this change?"),
                             "not approved"));
  if (!flags.yes && impact && !flags.evictions.has_value())
    request.set_expected_evictions(impact->impact.evictions.size());  // what was said yes to
  BW_ASSIGN_OR_RETURN(auto keys, PolicyKeys(admin.context()));
  config::RootChain roots = known.roots;
  if (roots.empty() && known.bundle.world.revision != 0) {
    roots.push_back({std::string(crypto::kRootType), known.bundle.message.root(), {}});
  }
  const bool lacks = !MissingSignatures(known, request).empty();
  BW_ASSIGN_OR_RETURN(int added, SignPending(keys, admin.context().policy_root_sha256, roots, &request));
  if (added == 0 && lacks) {
    return absl::FailedPreconditionError(
        "none of the context's policyKeys can add a signature: they have signed already or are not in the policy root");
  }
  control::v1::ApplyResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().Apply(Admin::Call().get(), request, &response)));
  if (!response.has_pending()) {
    BW_ASSIGN_OR_RETURN(Admin::Policy policy, admin.ReadPolicy());
    BW_RETURN_IF_ERROR(admin.MovePin(policy));
  }
  if (!globals.table()) {
    PrintJson(globals.format(), {{"applied", Bool(!response.has_pending())},
                                 {"missing", Text(response.pending().missing())},
                                 {"policyRevision", Number(response.policy_revision())}});
  } else if (response.has_pending()) {
    std::cout << "signed; nothing is in effect yet: " << MissingOf(response.pending()) << "\n";
  } else {
    std::cout << (added == 0 ? "approved and applied" : "signed and applied") << "; policy revision "
              << response.policy_revision() << "\n";
  }
  return absl::OkStatus();
}

// What waits at the coordinator, or what a file brings back from a machine without a network.
absl::Status Approve(const Globals& globals, uint64_t revision, const std::string& file, const ApprovalFlags& flags) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (!file.empty()) {
    BW_ASSIGN_OR_RETURN(auto signed_there, ReadPending(file));
    return Submit(globals, *admin, signed_there.request(), flags);
  }
  BW_ASSIGN_OR_RETURN(auto pending, Pending(*admin));
  if (revision != 0 && pending.pending().policy_revision() != revision) {
    return absl::NotFoundError(absl::StrCat("the change that waits makes policy revision ",
                                            pending.pending().policy_revision(), ", not ", revision));
  }
  return Submit(globals, *admin, pending.request(), flags);
}

// The law that the file was written under, by the root that the context pins; what nobody signs as the file says it.
absl::StatusOr<Known> KnownOf(const Context& context, const control::v1::GetPendingResponse& pending) {
  Known known;
  for (const auto& root : pending.roots()) known.roots.push_back(rpc::FromProto(root));
  for (const auto& r : pending.resources()) known.resources[{config::KindOf(r), r.metadata().name()}] = r;
  if (!pending.has_bundle()) return known;
  BW_ASSIGN_OR_RETURN(const std::string root, config::WalkRoots(known.roots, context.policy_root_sha256));
  auto bundle = config::OpenBundle(rpc::FromProto(pending.bundle()), root);
  if (!bundle.ok()) return Annotate(bundle.status(), "the law that the file compares with");
  known.bundle = *std::move(bundle);
  return known;
}

absl::Status SignFile(const Globals& globals, const std::string& file, bool yes, bool dry_run) {
  BW_ASSIGN_OR_RETURN(Context context, LoadContext(globals.context));
  BW_ASSIGN_OR_RETURN(auto pending, ReadPending(file));
  BW_ASSIGN_OR_RETURN(auto keys, PolicyKeys(context));
  BW_ASSIGN_OR_RETURN(const Known known, KnownOf(context, pending));
  BW_ASSIGN_OR_RETURN(int added, SignPending(keys, context.policy_root_sha256, known.roots, pending.mutable_request()));
  if (added == 0) {
    return absl::FailedPreconditionError(
        "none of the context's policyKeys can add a signature: they have signed already or are not in the policy root");
  }
  BW_ASSIGN_OR_RETURN(std::string what, DescribePending(pending.request(), known));
  if (globals.table()) std::cout << what;
  if (dry_run) {
    return SayTried(globals, {absl::StrCat("signatures of this context's keys in ", file, ": ", added)}, "");
  }
  BW_RETURN_IF_ERROR(Confirm(globals, yes, "Sign this change?", "not signed"));
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(os::Files::System(), file, pending.SerializeAsString()));
  if (globals.table()) {
    std::cout << "signed; submit it with: bailiwick policy approve --file " << file << "\n";
  } else {
    PrintJson(globals.format(), {{"file", Text(file)}, {"signaturesAdded", Number(added)}});
  }
  return absl::OkStatus();
}

absl::Status Reject(const Globals& globals, bool yes, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(auto pending, Pending(*admin));
  if (dry_run) {
    control::v1::DryRunRequest act;
    act.mutable_reject_pending()->set_id(pending.pending().id());
    return TryAct(globals, *admin, act);
  }
  BW_RETURN_IF_ERROR(
      Confirm(globals, yes, absl::StrCat("Drop the change by ", pending.pending().by(), "?"), "not dropped"));
  control::v1::RejectPendingRequest request;
  request.set_id(pending.pending().id());
  control::v1::RejectPendingResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().RejectPending(Admin::Call().get(), request, &response)));
  if (globals.table()) {
    std::cout << "dropped\n";
  } else {
    PrintJson(globals.format(), {{"dropped", Text(absl::BytesToHexString(request.id()))}});
  }
  return absl::OkStatus();
}

// A public key: 64 hexadecimal digits, or a file that holds them or a private key.
absl::StatusOr<std::string> PublicKey(const std::string& text) {
  std::string words = text;
  if (text.size() != 64 || text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
    BW_ASSIGN_OR_RETURN(words, os::ReadFile(os::Files::System(), text, 64 << 10));
    if (absl::StrContains(words, "PRIVATE KEY")) {
      BW_ASSIGN_OR_RETURN(crypto::SigningKey key, crypto::SigningKey::FromPem(words));
      return key.public_key();
    }
  }
  words = std::string(absl::StripAsciiWhitespace(words));
  const std::string raw = absl::HexStringToBytes(words);
  if (words.size() != 64 || raw.size() != 32) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, " is no public key; write the publicKey that policy keygen printed, or a file"));
  }
  return raw;
}

absl::Status ApplyLaw(const Globals& globals, Admin& admin, const CatalogChange& change, bool dry_run) {
  BW_ASSIGN_OR_RETURN(ChangeReport report, ApplyChange(admin, change, ExtentOf(dry_run)));
  if (dry_run) {
    return SayTried(globals, {absl::StrCat("the law is revision ", report.policy_revision)}, report.pending);
  }
  if (report.applied) {
    BW_ASSIGN_OR_RETURN(Admin::Policy policy, admin.ReadPolicy());
    BW_RETURN_IF_ERROR(admin.MovePin(policy));
  }
  SayBeside(report);
  if (!globals.table()) {
    PrintJson(globals.format(), {{"applied", Bool(report.applied)},
                                 {"pending", Text(report.pending)},
                                 {"policyRevision", Number(report.policy_revision)}});
  } else if (!report.pending.empty()) {
    std::cout << NotInEffect(admin, report.pending) << "\n";
  } else {
    std::cout << "policy revision " << report.policy_revision << "\n";
  }
  return absl::OkStatus();
}

struct RotateFlags {
  std::vector<std::string> add, remove;
  uint32_t threshold = 0;
};

absl::Status Rotate(const Globals& globals, const RotateFlags& flags, bool yes, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin->ReadBundle());
  if (bundle.world.revision == 0)
    return absl::FailedPreconditionError("no policy was applied yet; run: bailiwick apply -f FILE");
  config::PolicyRoot root;
  root.keys = bundle.world.root_keys;
  root.threshold = flags.threshold == 0 ? bundle.world.root_threshold : flags.threshold;
  for (const std::string& text : flags.remove) {
    BW_ASSIGN_OR_RETURN(std::string key, PublicKey(text));
    if (std::erase(root.keys, key) == 0) return absl::NotFoundError(absl::StrCat(text, " is not in the policy root"));
  }
  for (const std::string& text : flags.add) {
    BW_ASSIGN_OR_RETURN(std::string key, PublicKey(text));
    root.keys.push_back(key);
  }
  auto checked = config::DecodePolicyRoot(config::EncodePolicyRoot(root));
  if (!checked.ok()) return checked.status();
  CatalogChange change;
  change.law.root = root;
  if (!dry_run) {
    BW_RETURN_IF_ERROR(Confirm(
        globals, yes,
        absl::StrCat("Let ", root.keys.size(), " keys sign the law from now on, of which ", root.threshold, " must?"),
        "not rotated"));
  }
  return ApplyLaw(globals, *admin, change, dry_run);
}

absl::StatusOr<std::optional<absl::Duration>> Life(const std::string& text, const char* flag, absl::Duration most) {
  if (text.empty()) return std::optional<absl::Duration>();
  auto parsed = ParseDuration(text);
  if (!parsed.ok()) return Annotate(parsed.status(), flag);
  if (*parsed < absl::Seconds(1) || *parsed > most) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " is from 1s to ", absl::ToInt64Hours(most) / 24, "d, not ", text));
  }
  return std::optional<absl::Duration>(*parsed);
}

// A law that ends within the day is more likely a slip than meant.
absl::Status ConfirmLives(const Globals& globals, const LawChange& law, bool yes) {
  if (law.max_age.has_value() && *law.max_age < kShortMaxAge) {
    BW_RETURN_IF_ERROR(Confirm(globals, yes,
                               absl::StrCat("Nothing flows anywhere in ", FormatAge(*law.max_age),
                                            " unless the law is signed anew before. Sign it so?"),
                               "not signed"));
  }
  if (law.timestamp_life.has_value() && *law.timestamp_life < kShortTimestampLife) {
    BW_RETURN_IF_ERROR(Confirm(globals, yes,
                               absl::StrCat("Nothing flows at a site that has not heard of the coordinator for ",
                                            FormatAge(*law.timestamp_life), ". Sign it so?"),
                               "not signed"));
  }
  return absl::OkStatus();
}

struct DelegateFlags {
  std::string key, name;
  std::vector<std::string> labels, datasets, regions;
  bool remove = false;
};

absl::Status Delegate(const Globals& globals, const DelegateFlags& flags, bool dry_run) {
  BW_ASSIGN_OR_RETURN(std::string key, PublicKey(flags.key));
  CatalogChange change;
  if (flags.remove) {
    change.law.remove_classifiers.push_back(key);
  } else {
    resource::v1::Classifier c;
    c.mutable_key()->set_ed25519(key);
    c.mutable_key()->set_name(flags.name);
    for (const std::string& text : flags.labels) {
      const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
      auto* label = c.add_labels();
      label->set_key(parts[0]);
      if (parts.size() == 2) {
        for (absl::string_view value : absl::StrSplit(parts[1], '|')) label->add_values(std::string(value));
      }
    }
    for (const auto& d : flags.datasets) c.add_datasets(d);
    for (const auto& r : flags.regions) c.add_home_regions(r);
    change.law.classifiers.push_back(c);
  }
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  return ApplyLaw(globals, *admin, change, dry_run);
}

}  // namespace

absl::Status ApproveChange(const Globals& globals, Admin& admin, const control::v1::ApplyRequest& request,
                           const ApprovalFlags& flags) {
  return Submit(globals, admin, request, flags);
}

void RegisterPolicySigning(CLI::App& app, Globals& globals) {
  CLI::App* policy = app.get_subcommand("policy");
  {
    auto* c = policy->add_subcommand("pending", "the change that waits for signatures, and what it would do");
    auto out = std::make_shared<std::string>();
    c->add_option("--out", *out, "also write it to this new file, to be signed where there is no network")
        ->type_name("PATH");
    c->footer("Example:\n  bailiwick policy pending --out change.bin");
    OnRun(c, globals, [&globals, out] { return ShowPending(globals, *out); });
  }
  {
    auto* c =
        policy->add_subcommand("approve", "show what waits for signatures, sign it with the context's keys, submit it");
    auto revision = std::make_shared<uint64_t>(0);
    auto file = std::make_shared<std::string>();
    auto yes = YesFlag(c);
    auto evictions = ExpectEvictionsFlag(c);
    c->add_option("REV", *revision, "policy revision that it would make; anything else that waits is refused");
    c->add_option("--file", *file, "a change that was signed elsewhere, instead of the one that waits")
        ->type_name("PATH");
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Without a terminal to ask at it needs --yes, also where --expect-evictions says how many copies may go.\n"
        "Examples:\n  bailiwick policy approve\n  bailiwick policy approve --file change.bin\n"
        "  bailiwick policy approve --yes --expect-evictions 0");
    OnRun(c, globals, [&globals, revision, file, yes, dry_run, evictions] {
      return Approve(globals, *revision, *file, {*yes, *dry_run, *evictions});
    });
  }
  {
    auto* c = policy->add_subcommand(
        "sign", "add this context's signature to a pending change in a file; needs no coordinator");
    auto file = std::make_shared<std::string>();
    c->add_option("FILE", *file, "as written by: policy pending --out FILE")->type_name("PATH")->required();
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick policy sign change.bin");
    OnRun(c, globals, [&globals, file, yes, dry_run] { return SignFile(globals, *file, *yes, *dry_run); });
  }
  {
    auto* c = policy->add_subcommand("reject", "drop the change that waits for signatures");
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick policy reject");
    OnRun(c, globals, [&globals, yes, dry_run] { return Reject(globals, *yes, *dry_run); });
  }
  {
    auto* c = policy->add_subcommand("rotate", "change the keys that sign the law, or how many of them must");
    auto flags = std::make_shared<RotateFlags>();
    c->add_option("--add", flags->add, "public key (hexadecimal), or a file with it or with the private key")
        ->type_name("PATH");
    c->add_option("--remove", flags->remove, "the same")->type_name("PATH");
    c->add_option("--threshold", flags->threshold, "how many keys must sign (default: as now)");
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Signed by old and new keys; agents follow from the root that they pinned, however long they slept.\n"
        "Example:\n  bailiwick policy rotate --add alice.pub --add bob.pub --threshold 2");
    OnRun(c, globals, [&globals, flags, yes, dry_run] { return Rotate(globals, *flags, *yes, *dry_run); });
  }
  {
    auto* c = policy->add_subcommand("refresh", "sign the law anew as it is, so that its age begins again");
    auto age = std::make_shared<std::string>(), life = std::make_shared<std::string>();
    c->add_option("--max-age", *age,
                  "nothing flows under a law that was signed longer ago (default: as now; 365d at first)");
    c->add_option("--timestamp-life", *life,
                  "how long the coordinator's word that the law is current counts (default: as now; 24h at first)");
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick policy refresh --max-age 90d");
    OnRun(c, globals, [&globals, age, life, yes, dry_run]() -> absl::Status {
      CatalogChange change;
      change.law.renew = true;
      BW_ASSIGN_OR_RETURN(change.law.max_age, Life(*age, "--max-age", kLongestMaxAge));
      BW_ASSIGN_OR_RETURN(change.law.timestamp_life, Life(*life, "--timestamp-life", kLongestTimestampLife));
      if (!*dry_run) BW_RETURN_IF_ERROR(ConfirmLives(globals, change.law, *yes));
      BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
      return ApplyLaw(globals, *admin, change, *dry_run);
    });
  }
  {
    auto* c = policy->add_subcommand("delegate", "let a key classify datasets within limits");
    auto flags = std::make_shared<DelegateFlags>();
    c->add_option("KEY", flags->key, "public key (hexadecimal), or a file with it or with the private key")
        ->type_name("PATH")
        ->required();
    c->add_option("--name", flags->name, "for people");
    c->add_option("--label", flags->labels, "KEY=VALUE|VALUE: its records carry exactly these labels (default: any)");
    c->add_option("--dataset", flags->datasets, "name, * stands for any characters (default: any)")
        ->type_name("DATASET");
    c->add_option("--home-region", flags->regions, "homes lie below it (default: anywhere)");
    c->add_flag("--remove", flags->remove, "take it back");
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Example:\n  bailiwick policy delegate robots.pub --label class=telemetry --dataset 'robot-*' --home-region "
        "eu");
    OnRun(c, globals, [&globals, flags, dry_run] { return Delegate(globals, *flags, *dry_run); });
  }
}

}  // namespace bailiwick::cli
