#include "services/agent/replica/replica_tree.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/os/tree.h"
#include "services/agent/replica/slot_plan.h"
#include "services/agent/replica/slot_state.h"
#include "services/agent/replica/tree_redactor.h"
#include "services/agent/replica/tree_verifier.h"
#include "services/agent/replica/tree_writer.h"

namespace bailiwick::agent {
namespace {

constexpr uint32_t kPublicMode = 0755;  // readers of other accounts walk through to files, whose modes decide
constexpr const char* kTrees = "trees";
constexpr const char* kCurrent = "current";
constexpr const char* kNextCurrent = ".current.next";

}  // namespace

absl::Status MakePublicDirs(os::Files* files, const std::string& path) {
  std::vector<std::string> made;
  for (std::string at = path; at.size() > 1;) {
    BW_ASSIGN_OR_RETURN(bool exists, files->Exists(at));
    if (exists) break;
    made.push_back(at);
    at.resize(at.rfind('/'));
  }
  if (made.empty()) return absl::OkStatus();
  BW_RETURN_IF_ERROR(files->MakeDirs(path));
  for (const std::string& directory : made) {
    BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> opened, os::OpenTree(directory));
    BW_RETURN_IF_ERROR(opened->SetMode("", kPublicMode));
  }
  return absl::OkStatus();
}

struct ReplicaTree::Impl {
  os::Files* files = nullptr;
  std::string root;
  std::unique_ptr<os::TreeDir> dir;
  Slots slots;
  int current = -1;  // what the link names, whatever the slot's state

  std::string Trees() const { return os::JoinPath(root, kTrees); }
  std::string SlotPath(int n) const { return os::JoinPath(Trees(), std::to_string(n)); }
  std::string StatePath(int n) const { return os::JoinPath(Trees(), absl::StrCat(".slot-", n)); }
  static std::string SlotName(int n) { return absl::StrCat(kTrees, "/", n); }

  absl::Status Load();
  absl::Status ReadCurrent();
  absl::Status ForgetLostSlots();
  absl::Status ForgetForeignSlots(DatasetHandle& dataset);
  absl::Status VerifyBeside(DatasetHandle& dataset, int n, os::TreeDir* shown, std::vector<std::string>* differences);
  absl::Status SaveState(int n, const SlotState& state);
  absl::Status ForgetState(int n);
  absl::Status Swap(int n);
  absl::StatusOr<std::unique_ptr<os::TreeDir>> OpenSlot(int n);
  absl::StatusOr<int> Claim(const std::vector<int>& candidates, std::unique_ptr<os::DirLock>* lock);
  // Empties what lies in slots that are neither `current` nor `but` nor leased. Whether there was something.
  absl::StatusOr<bool> EmptyOthers(int but);
  absl::Status Empty(int n);
  absl::Status Withdraw();
  absl::Status Erase(int n);  // leased or not; durable
  absl::Status LayOut(DatasetHandle& dataset, int n, const SlotState& wanted, const LayoutCallback& progress,
                      const std::atomic<bool>& cancelled);
  absl::Status Write(DatasetHandle& dataset, os::TreeDir& slot, const Digest& before, const SlotState& wanted,
                     const LayoutCallback& progress, const std::atomic<bool>& cancelled);
};

absl::Status ReplicaTree::Impl::Load() {
  BW_RETURN_IF_ERROR(MakePublicDirs(files, Trees()));
  BW_ASSIGN_OR_RETURN(dir, os::OpenTree(root));
  for (int n = 0; n < kSlots; ++n) {
    auto text = os::ReadFile(files, StatePath(n), 4096);
    if (absl::IsNotFound(text.status())) continue;
    if (!text.ok() && !absl::IsOutOfRange(text.status())) return text.status();
    absl::StatusOr<SlotState> state = text.ok() ? DecodeSlotState(*text) : absl::DataLossError("too long");
    if (absl::IsFailedPrecondition(state.status())) return Annotate(state.status(), StatePath(n));
    if (state.ok()) slots[n] = *std::move(state);  // a damaged one: laid out anew
  }
  return ReadCurrent();
}

absl::Status ReplicaTree::Impl::ReadCurrent() {
  current = -1;
  absl::StatusOr<std::string> link = dir->ReadLink(kCurrent);
  if (absl::IsNotFound(link.status())) return absl::OkStatus();
  if (!link.ok()) return Annotate(link.status(), os::JoinPath(root, kCurrent));
  for (int n = 0; n < kSlots; ++n) {
    if (*link == SlotName(n)) current = n;
  }
  return absl::OkStatus();
}

// Somebody may have deleted a slot, or all of them, by hand.
absl::Status ReplicaTree::Impl::ForgetLostSlots() {
  for (int n = 0; n < kSlots; ++n) {
    absl::StatusOr<os::NodeStat> stat = dir->Stat(SlotName(n));
    if (stat.ok() && stat->type == os::NodeType::kDirectory) continue;
    if (!stat.ok() && !absl::IsNotFound(stat.status())) return stat.status();
    if (slots[n]) BW_RETURN_IF_ERROR(ForgetState(n));
  }
  return absl::OkStatus();
}

// What cannot be compared with its manifest is nothing to build on. So it is with the tree of a dataset that was deleted
// and declared again: the new one is laid out at the same place.
absl::Status ReplicaTree::Impl::ForgetForeignSlots(DatasetHandle& dataset) {
  for (int n = 0; n < kSlots; ++n) {
    if (!slots[n]) continue;
    BW_ASSIGN_OR_RETURN(const bool known, dataset.store->Has(slots[n]->manifest));
    if (!known) BW_RETURN_IF_ERROR(ForgetState(n));
  }
  return absl::OkStatus();
}

absl::Status ReplicaTree::Impl::SaveState(int n, const SlotState& state) {
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files, StatePath(n), EncodeSlotState(state)));
  slots[n] = state;
  return absl::OkStatus();
}

absl::Status ReplicaTree::Impl::ForgetState(int n) {
  slots[n].reset();
  absl::Status removed = files->Remove(StatePath(n));
  if (absl::IsNotFound(removed)) return absl::OkStatus();
  BW_RETURN_IF_ERROR(removed);
  return files->SyncDir(Trees());
}

absl::Status ReplicaTree::Impl::Swap(int n) {
  absl::Status stale = dir->RemoveFile(kNextCurrent);  // of a swap that a crash ended
  if (!stale.ok() && !absl::IsNotFound(stale)) return stale;
  BW_RETURN_IF_ERROR(dir->MakeSymlink(kNextCurrent, SlotName(n)));
  BW_RETURN_IF_ERROR(dir->Rename(kNextCurrent, kCurrent));
  current = n;
  return dir->SyncDir("");
}

absl::StatusOr<std::unique_ptr<os::TreeDir>> ReplicaTree::Impl::OpenSlot(int n) {
  absl::Status made = dir->MakeDir(SlotName(n));
  if (made.ok()) {
    BW_RETURN_IF_ERROR(dir->SyncDir(kTrees));
  } else if (!absl::IsAlreadyExists(made)) {
    return made;
  }
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> slot, dir->OpenDir(SlotName(n)));
  BW_RETURN_IF_ERROR(slot->SetMode("", kPublicMode));
  return slot;
}

absl::StatusOr<int> ReplicaTree::Impl::Claim(const std::vector<int>& candidates, std::unique_ptr<os::DirLock>* lock) {
  for (int n : candidates) {
    BW_RETURN_IF_ERROR(OpenSlot(n).status());
    absl::StatusOr<std::unique_ptr<os::DirLock>> taken = os::TryLockDir(SlotPath(n), true);
    if (taken.ok()) {
      *lock = *std::move(taken);
      return n;
    }
    if (!absl::IsUnavailable(taken.status())) return taken.status();
  }
  return absl::UnavailableError(
      absl::StrCat("every other slot of ", root, " is leased by a reader; the new version waits"));
}

absl::Status ReplicaTree::Impl::Empty(int n) {
  BW_RETURN_IF_ERROR(ForgetState(n));
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> slot, OpenSlot(n));
  BW_RETURN_IF_ERROR(EmptyDirectory(*slot));
  return os::SyncFileSystem(*slot);
}

absl::StatusOr<bool> ReplicaTree::Impl::EmptyOthers(int but) {
  bool emptied = false;
  for (int n = 0; n < kSlots; ++n) {
    if (n == current || n == but) continue;
    absl::StatusOr<std::unique_ptr<os::TreeDir>> slot = dir->OpenDir(SlotName(n));
    if (absl::IsNotFound(slot.status())) continue;
    BW_RETURN_IF_ERROR(slot.status());
    BW_ASSIGN_OR_RETURN(const std::vector<std::string> names, (*slot)->List());
    if (names.empty()) continue;
    absl::StatusOr<std::unique_ptr<os::DirLock>> lock = os::TryLockDir(SlotPath(n), true);
    if (absl::IsUnavailable(lock.status())) continue;
    BW_RETURN_IF_ERROR(lock.status());
    BW_RETURN_IF_ERROR(Empty(n));
    emptied = true;
  }
  return emptied;
}

absl::Status ReplicaTree::Impl::Write(DatasetHandle& dataset, os::TreeDir& slot, const Digest& before,
                                      const SlotState& wanted, const LayoutCallback& progress,
                                      const std::atomic<bool>& cancelled) {
  uint64_t done = 0;
  TreeWriter writer(
      &dataset, &slot, wanted.style,
      [&](uint64_t bytes) {
        done += bytes;
        if (progress) progress(done);
      },
      &cancelled);
  std::unique_ptr<os::TreeDir> donor;
  if (current >= 0 && CanBuildOn(slots[current], wanted.style)) {
    BW_ASSIGN_OR_RETURN(donor, dir->OpenDir(SlotName(current)));
    writer.SetDonor({donor.get(), slots[current]->manifest, /*hard_links=*/true});
  }
  return writer.Apply(before, wanted.manifest);
}

absl::Status ReplicaTree::Impl::LayOut(DatasetHandle& dataset, int n, const SlotState& wanted,
                                       const LayoutCallback& progress, const std::atomic<bool>& cancelled) {
  Digest base;
  if (CanBuildOn(slots[n], wanted.style)) base = slots[n]->manifest;
  BW_RETURN_IF_ERROR(ForgetState(n));
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> slot, OpenSlot(n));
  absl::Status status;
  if (!base.empty()) {
    status = Write(dataset, *slot, base, wanted, progress, cancelled);
  }
  const bool hopeless = absl::IsResourceExhausted(status) || absl::IsCancelled(status);
  if (base.empty() || (!status.ok() && !hopeless)) {  // also where the slot was changed: the difference does not fit it
    BW_RETURN_IF_ERROR(EmptyDirectory(*slot));
    status = Write(dataset, *slot, Digest(), wanted, progress, cancelled);
  }
  if (status.ok()) status = os::SyncFileSystem(*slot);
  if (status.ok()) status = SaveState(n, wanted);
  // Half a tree is good for nothing, and takes the room that the next try needs.
  if (!status.ok() && !absl::IsCancelled(status)) Empty(n).IgnoreError();
  return status;
}

ReplicaTree::ReplicaTree() : impl_(std::make_unique<Impl>()) {}
ReplicaTree::~ReplicaTree() = default;

absl::StatusOr<std::unique_ptr<ReplicaTree>> ReplicaTree::Open(os::Files* files, const std::string& root) {
  auto tree = std::unique_ptr<ReplicaTree>(new ReplicaTree());
  tree->impl_->files = files;
  tree->impl_->root = root;
  BW_RETURN_IF_ERROR(tree->impl_->Load());
  return tree;
}

absl::Status ReplicaTree::Show(DatasetHandle& dataset, const store::CatalogVersion& version,
                               const LayoutOptions& options, const LayoutCallback& progress,
                               const std::atomic<bool>& cancelled) {
  Impl& impl = *impl_;
  BW_RETURN_IF_ERROR(MakePublicDirs(impl.files, impl.Trees()));
  BW_ASSIGN_OR_RETURN(impl.dir, os::OpenTree(impl.root));  // the one of before may be gone
  BW_RETURN_IF_ERROR(impl.ReadCurrent());
  BW_RETURN_IF_ERROR(impl.ForgetLostSlots());
  BW_RETURN_IF_ERROR(impl.ForgetForeignSlots(dataset));
  SlotState wanted;
  wanted.version = version.record.number;
  wanted.identity = version.identity;
  wanted.manifest = version.record.manifest_root;
  wanted.style = {options.writable, options.owner};
  const SlotPlan plan = PlanSlots(impl.slots, impl.current, wanted);
  int slot = plan.slot;
  if (plan.action == SlotPlan::Action::kLayOut) {
    std::unique_ptr<os::DirLock> lock;
    BW_ASSIGN_OR_RETURN(slot, impl.Claim(plan.candidates, &lock));
    absl::Status status = impl.LayOut(dataset, slot, wanted, progress, cancelled);
    if (absl::IsResourceExhausted(status)) {  // trees of before only save time
      absl::StatusOr<bool> room = impl.EmptyOthers(slot);
      if (room.ok() && *room) status = impl.LayOut(dataset, slot, wanted, progress, cancelled);
    }
    if (absl::IsResourceExhausted(status)) {
      return absl::ResourceExhaustedError(absl::StrCat("no space to lay out version ", wanted.version, " in ",
                                                       impl.root, "; the version shown before stays, free some space (",
                                                       status.message(), ")"));
    }
    if (!status.ok()) return Annotate(status, absl::StrCat("laying out version ", wanted.version, " in ", impl.root));
  } else if (impl.slots[slot]->identity != wanted.identity) {
    BW_RETURN_IF_ERROR(impl.SaveState(slot, wanted));  // the same tree under another number
  }
  return slot == impl.current ? absl::OkStatus() : impl.Swap(slot);
}

absl::Status ReplicaTree::PrepareSpare(DatasetHandle& dataset, const std::atomic<bool>& cancelled) {
  Impl& impl = *impl_;
  BW_RETURN_IF_ERROR(impl.ForgetForeignSlots(dataset));
  const int spare = PlanSpare(impl.slots, impl.current);
  if (spare < 0) return absl::OkStatus();
  std::unique_ptr<os::DirLock> lock;
  absl::Status claimed = impl.Claim({spare}, &lock).status();
  if (absl::IsUnavailable(claimed)) return absl::OkStatus();  // somebody reads what once was there
  BW_RETURN_IF_ERROR(claimed);
  return impl.LayOut(dataset, spare, *impl.slots[impl.current], nullptr, cancelled);
}

VersionNumber ReplicaTree::current() const {
  return impl_->current >= 0 && impl_->slots[impl_->current] ? impl_->slots[impl_->current]->version : 0;
}

bool ReplicaTree::suspect() const {
  return impl_->current >= 0 && impl_->slots[impl_->current] && impl_->slots[impl_->current]->suspect;
}

std::vector<VersionNumber> ReplicaTree::laid_out() const {
  std::vector<VersionNumber> out;
  for (const std::optional<SlotState>& slot : impl_->slots) {
    if (slot) out.push_back(slot->version);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

absl::Status ReplicaTree::Verify(DatasetHandle& dataset, std::vector<std::string>* problems) {
  Impl& impl = *impl_;
  BW_RETURN_IF_ERROR(impl.ForgetForeignSlots(dataset));
  if (impl.current < 0 || !impl.slots[impl.current]) {
    return absl::NotFoundError(absl::StrCat("no version is laid out in ", impl.root));
  }
  const int shown = impl.current;
  const absl::Status read = impl.ReadCurrent();
  if (!absl::IsFailedPrecondition(read)) BW_RETURN_IF_ERROR(read);  // no link any more: it leads nowhere
  if (impl.current != shown) {  // by somebody else's hand: what it leads to is not ours to judge
    problems->push_back(
        absl::StrCat(kCurrent, " does not lead to version ", impl.slots[shown]->version, " any more; it is set right"));
    return absl::OkStatus();
  }
  const SlotState& state = *impl.slots[impl.current];
  const size_t before = problems->size();
  BW_ASSIGN_OR_RETURN(std::unique_ptr<os::TreeDir> slot, impl.dir->OpenDir(impl.SlotName(impl.current)));
  BW_RETURN_IF_ERROR(VerifyTree(dataset, *slot, impl.SlotPath(impl.current), state.manifest, state.style, problems));
  if (state.style.writable) return absl::OkStatus();
  // Slots share files, so what is wrong here can be wrong there: the next Show lays out from the store alone. What is
  // right here can be wrong there too, and would be shown one day.
  const bool all_suspect = problems->size() != before;
  for (int n = 0; n < kSlots; ++n) {
    if (!impl.slots[n] || impl.slots[n]->suspect) continue;
    SlotState suspect = *impl.slots[n];
    if (!all_suspect) {
      if (n == impl.current || suspect.style.writable) continue;
      std::vector<std::string> differences;
      BW_RETURN_IF_ERROR(impl.VerifyBeside(dataset, n, slot.get(), &differences));
      if (differences.empty()) continue;
      problems->push_back(
          absl::StrCat("beside what is shown, in the tree of version ", suspect.version, ": ", differences.front(),
                       differences.size() == 1 ? "" : absl::StrCat(", and ", differences.size() - 1, " more"),
                       "; it is laid out anew before it is shown"));
    }
    suspect.suspect = true;
    BW_RETURN_IF_ERROR(impl.SaveState(n, suspect));
  }
  return absl::OkStatus();
}

absl::Status ReplicaTree::Impl::VerifyBeside(DatasetHandle& dataset, int n, os::TreeDir* shown,
                                             std::vector<std::string>* differences) {
  absl::StatusOr<std::unique_ptr<os::TreeDir>> beside = dir->OpenDir(SlotName(n));
  if (absl::IsNotFound(beside.status())) return absl::OkStatus();  // ForgetLostSlots
  BW_RETURN_IF_ERROR(beside.status());
  absl::Status verified =
      VerifyTree(dataset, **beside, SlotPath(n), slots[n]->manifest, slots[n]->style, differences, shown);
  if (!absl::IsDataLoss(verified) && !absl::IsNotFound(verified)) return verified;
  differences->push_back(std::string(verified.message()));  // its manifest is damaged: nothing can be made of it
  return absl::OkStatus();
}

absl::Status ReplicaTree::Impl::Withdraw() {
  absl::Status status = dir->RemoveFile(kCurrent);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  current = -1;
  return dir->SyncDir("");
}

absl::Status ReplicaTree::Impl::Erase(int n) {
  if (n == current) BW_RETURN_IF_ERROR(Withdraw());
  absl::StatusOr<std::unique_ptr<os::TreeDir>> slot = dir->OpenDir(SlotName(n));
  if (slot.ok()) {
    BW_RETURN_IF_ERROR(EmptyDirectory(**slot));
    BW_RETURN_IF_ERROR(os::SyncFileSystem(**slot));
  } else if (!absl::IsNotFound(slot.status())) {
    return slot.status();
  }
  return ForgetState(n);
}

absl::Status ReplicaTree::Withdraw() { return impl_->Withdraw(); }

absl::StatusOr<bool> ReplicaTree::EmptySpares() { return impl_->EmptyOthers(impl_->current); }

absl::Status ReplicaTree::Forget(const std::vector<VersionNumber>& versions) {
  Impl& impl = *impl_;
  for (int n = 0; n < kSlots; ++n) {
    const bool stays =
        impl.slots[n] && std::find(versions.begin(), versions.end(), impl.slots[n]->version) == versions.end();
    if (!stays) BW_RETURN_IF_ERROR(impl.Erase(n));  // of one left half-changed nobody knows what is in it
  }
  return absl::OkStatus();
}

absl::Status ReplicaTree::Redact(DatasetHandle& dataset) {
  Impl& impl = *impl_;
  BW_RETURN_IF_ERROR(impl.ForgetForeignSlots(dataset));
  for (int n = 0; n < kSlots; ++n) {
    if (!impl.slots[n]) {  // left half-changed
      BW_RETURN_IF_ERROR(impl.Erase(n));
      continue;
    }
    absl::StatusOr<std::unique_ptr<os::TreeDir>> slot = impl.dir->OpenDir(impl.SlotName(n));
    if (absl::IsNotFound(slot.status())) continue;
    BW_RETURN_IF_ERROR(slot.status());
    const absl::Status redacted = RedactTree(dataset, **slot, impl.slots[n]->manifest);
    if (absl::IsDataLoss(redacted) ||
        absl::IsNotFound(redacted)) {  // part of the manifest is damaged: nobody knows what of it has to go
      BW_RETURN_IF_ERROR(impl.Erase(n));
      continue;
    }
    BW_RETURN_IF_ERROR(redacted);
    BW_RETURN_IF_ERROR(os::SyncFileSystem(**slot));
  }
  return absl::OkStatus();
}

absl::Status ReplicaTree::Remove() {
  Impl& impl = *impl_;
  BW_RETURN_IF_ERROR(Withdraw());
  for (int n = 0; n < kSlots; ++n) BW_RETURN_IF_ERROR(impl.ForgetState(n));
  BW_RETURN_IF_ERROR(EmptyDirectory(*impl.dir));
  BW_RETURN_IF_ERROR(impl.files->RemoveTree(impl.root));
  size_t slash = impl.root.rfind('/');
  return impl.files->SyncDir(slash == 0 ? "/" : impl.root.substr(0, slash));
}

}  // namespace bailiwick::agent
