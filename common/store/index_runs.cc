#include "common/store/index_runs.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kListName = "RUNS";
constexpr std::string_view kListHead = "bailiwick chunk index 1";
constexpr absl::string_view kRunPrefix = "run-";
constexpr size_t kMergeRuns = 4;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

bool IndexView::Counts(const Part& part, DatasetId dataset) const {
  if (dropped.empty()) return true;
  auto it = dropped.find(dataset);
  return it == dropped.end() || part.number >= it->second;
}

absl::StatusOr<std::optional<IndexValue>> IndexView::Find(const IndexKey& key) const {
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->filter != nullptr && !part->filter->MayHold(key.digest)) continue;
    if (!Counts(*part, key.dataset)) continue;
    BW_ASSIGN_OR_RETURN(std::optional<IndexValue> found, part->run->Find(key));
    if (!found.has_value()) continue;
    if (found->removed) return std::nullopt;
    return found;
  }
  return std::nullopt;
}

size_t IndexView::ToMerge() const {
  size_t best = 0;
  uint64_t sum = 0, largest = 0;
  for (size_t count = 1; count <= parts.size(); ++count) {
    const uint64_t entries = parts[parts.size() - count].run->entries();
    sum += entries;
    largest = std::max(largest, entries);
    if (count >= kMergeRuns && largest * (kMergeRuns - 1) <= sum) best = count;
  }
  return best;
}

IndexMerge::IndexMerge(std::shared_ptr<const IndexView> view, size_t count)
    : view_(std::move(view)), oldest_(count == view_->parts.size()) {
  for (size_t i = view_->parts.size() - count; i < view_->parts.size(); ++i) {
    const IndexView::Part& part = view_->parts[i];
    inputs_.push_back({.part = &part, .cursor = IndexRun::Cursor(part.run.get()), .head = {}, .more = true});
  }
}

uint64_t IndexMerge::entries() const {
  uint64_t sum = 0;
  for (const Input& input : inputs_) sum += input.part->run->entries();
  return sum;
}

absl::Status IndexMerge::Advance(Input& input) {
  do {
    BW_ASSIGN_OR_RETURN(input.more, input.cursor.Next(&input.head));
  } while (input.more && !view_->Counts(*input.part, input.head.key.dataset));
  return absl::OkStatus();
}

absl::StatusOr<bool> IndexMerge::Next(IndexEntry* entry) {
  if (!std::exchange(started_, true)) {
    for (Input& input : inputs_) BW_RETURN_IF_ERROR(Advance(input));
  }
  while (true) {
    const Input* least = nullptr;
    for (const Input& input : inputs_) {
      if (input.more && (least == nullptr || input.head.key <= least->head.key)) least = &input;
    }
    if (least == nullptr) return false;
    *entry = least->head;
    for (Input& input : inputs_) {
      if (input.more && input.head.key == entry->key) BW_RETURN_IF_ERROR(Advance(input));
    }
    if (!entry->value.removed || !oldest_) return true;
  }
}

absl::StatusOr<std::unique_ptr<IndexRuns>> IndexRuns::Open(os::Files* files, const std::string& path,
                                                           uint64_t filter_bytes) {
  BW_RETURN_IF_ERROR(files->MakeDirs(path));
  std::unique_ptr<IndexRuns> runs(new IndexRuns(files, path, filter_bytes));
  BW_RETURN_IF_ERROR(runs->ReadList());
  BW_RETURN_IF_ERROR(runs->RemoveStrays());
  return runs;
}

std::string IndexRuns::PathOf(uint64_t number) const { return os::JoinPath(path_, absl::StrCat(kRunPrefix, number)); }

absl::StatusOr<IndexView::Part> IndexRuns::OpenRun(uint64_t number) const {
  IndexView::Part part{.number = number, .run = nullptr, .filter = nullptr};
  BW_ASSIGN_OR_RETURN(part.run, IndexRun::Open(files_, PathOf(number)));
  return part;
}

absl::Status IndexRuns::ReadList() {
  const std::string path = os::JoinPath(path_, std::string(kListName));
  auto text = os::ReadFile(files_, path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  BW_RETURN_IF_ERROR(text.status());
  const absl::Status damaged = absl::DataLossError(absl::StrCat(path, " is damaged, or of a newer format"));
  // Lines; the last one is the hash of those before it.
  std::vector<absl::string_view> lines = absl::StrSplit(*text, '\n');
  if (lines.size() < 4 || lines[0] != View(kListHead) || !lines.back().empty()) return damaged;
  const size_t body = static_cast<size_t>(lines[lines.size() - 2].data() - text->data());
  if (lines[lines.size() - 2] != absl::StrCat("end ", absl::Hex(XXH3_64bits(text->data(), body), absl::kZeroPad16))) {
    return damaged;
  }
  IndexView view;
  for (size_t i = 1; i + 2 < lines.size(); ++i) {
    const std::vector<absl::string_view> words = absl::StrSplit(lines[i], ' ');
    uint64_t number = 0;
    if (words.size() < 2 || !absl::SimpleAtoi(words.back(), &number)) return damaged;
    if (words[0] == "next" && words.size() == 2) {
      next_ = number;
    } else if (words[0] == "run" && words.size() == 2) {
      auto part = OpenRun(number);
      if (absl::IsNotFound(part.status())) return absl::DataLossError(part.status().message());
      BW_RETURN_IF_ERROR(part.status());
      view.parts.push_back(*std::move(part));
    } else if (words[0] == "dropped" && words.size() == 3) {
      const auto dataset = DatasetId::From(absl::HexStringToBytes(words[1]));
      if (!dataset.ok()) return damaged;
      view.dropped[*dataset] = number;
    } else {
      return damaged;
    }
  }
  return Install(std::move(view));
}

absl::Status IndexRuns::RemoveStrays() const {
  BW_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_->List(path_));
  for (const std::string& name : names) {
    const bool listed = name == kListName || std::any_of(view_->parts.begin(), view_->parts.end(), [&](const auto& p) {
                          return name == absl::StrCat(kRunPrefix, p.number);
                        });
    if (!listed) BW_RETURN_IF_ERROR(files_->RemoveTree(os::JoinPath(path_, name)));
  }
  return absl::OkStatus();
}

absl::Status IndexRuns::Write(uint64_t number, uint64_t entries, const Source& source) const {
  // While one is made it comes on top of those that are there: never more than half of them.
  uint64_t filter = IndexFilter::BytesFor(entries);
  if (filter > filter_bytes_ / 2) filter = 0;
  absl::Cleanup clean = [&] { files_->Remove(PathOf(number)).IgnoreError(); };
  BW_ASSIGN_OR_RETURN(auto writer, IndexRunWriter::Create(files_, PathOf(number), filter));
  IndexEntry entry;
  while (true) {
    BW_ASSIGN_OR_RETURN(const bool more, source(&entry));
    if (!more) break;
    BW_RETURN_IF_ERROR(writer->Add(entry));
  }
  BW_RETURN_IF_ERROR(writer->Finish());
  std::move(clean).Cancel();
  return absl::OkStatus();
}

absl::Status IndexRuns::Install(IndexView view) {
  uint64_t room = filter_bytes_, oldest = next_;
  for (const IndexView::Part& part : view.parts) oldest = std::min(oldest, part.number);
  absl::erase_if(view.dropped, [&](const auto& drop) { return drop.second <= oldest; });
  for (auto part = view.parts.rbegin(); part != view.parts.rend(); ++part) {
    const uint64_t bytes = part->run->filter_bytes();
    if (bytes > room) {
      part->filter = nullptr;
      continue;
    }
    room -= bytes;
    if (part->filter == nullptr) {
      BW_ASSIGN_OR_RETURN(part->filter, part->run->LoadFilter());
    }
  }
  std::string list = absl::StrCat(View(kListHead), "\nnext ", next_, "\n");
  for (const auto& part : view.parts) absl::StrAppend(&list, "run ", part.number, "\n");
  for (const auto& [dataset, number] : view.dropped) {
    absl::StrAppend(&list, "dropped ", dataset.Hex(), " ", number, "\n");
  }
  absl::StrAppend(&list, "end ", absl::Hex(XXH3_64bits(list.data(), list.size()), absl::kZeroPad16), "\n");
  BW_RETURN_IF_ERROR(os::WriteFileAtomically(files_, os::JoinPath(path_, std::string(kListName)), list));
  view_ = std::make_shared<const IndexView>(std::move(view));
  return absl::OkStatus();
}

absl::Status IndexRuns::Add(uint64_t number) {
  absl::Cleanup clean = [&] { files_->Remove(PathOf(number)).IgnoreError(); };
  IndexView view = *view_;
  BW_ASSIGN_OR_RETURN(view.parts.emplace_back(), OpenRun(number));
  BW_RETURN_IF_ERROR(Install(std::move(view)));
  std::move(clean).Cancel();
  return absl::OkStatus();
}

absl::Status IndexRuns::Replace(const IndexView& merged, size_t count, uint64_t number) {
  absl::Cleanup clean = [&] { files_->Remove(PathOf(number)).IgnoreError(); };
  IndexView view = *view_;
  const auto first = std::find_if(view.parts.begin(), view.parts.end(), [&](const auto& part) {
    return part.number == merged.parts[merged.parts.size() - count].number;
  });
  const std::vector<IndexView::Part> old(first, first + static_cast<std::ptrdiff_t>(count));
  BW_ASSIGN_OR_RETURN(*first, OpenRun(number));
  view.parts.erase(first + 1, first + static_cast<std::ptrdiff_t>(count));
  BW_RETURN_IF_ERROR(Install(std::move(view)));
  std::move(clean).Cancel();
  // Whoever still looks into them has them open.
  for (const auto& part : old) files_->Remove(PathOf(part.number)).IgnoreError();
  return absl::OkStatus();
}

absl::Status IndexRuns::Drop(DatasetId dataset) {
  IndexView view = *view_;
  view.dropped[dataset] = NewNumber();
  return Install(std::move(view));
}

}  // namespace bailiwick::store
