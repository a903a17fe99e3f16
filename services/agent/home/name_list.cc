#include "services/agent/home/name_list.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/status.h"
#include "common/store/dataset_store.h"

namespace bailiwick::agent {
namespace {

std::string_view NameAt(const char* at) { return {at + 1, static_cast<unsigned char>(*at)}; }

}  // namespace

bool NameList::Add(std::string_view name) {
  if (name.size() > 255) return false;
  if (loose_.empty() || used_ + 1 + name.size() > kBlock) {
    if (loose_.size() == kRunBytes / kBlock) PackLoose();
    loose_.push_back(std::make_unique_for_overwrite<char[]>(kBlock));
    used_ = 0;
  }
  places_.push_back(static_cast<uint32_t>((loose_.size() - 1) * kBlock + used_));
  char* at = loose_.back().get() + used_;
  *at = static_cast<char>(name.size());
  std::memcpy(at + 1, name.data(), name.size());
  used_ += 1 + name.size();
  return true;
}

std::string_view NameList::At(uint32_t place) const { return NameAt(loose_[place / kBlock].get() + place % kBlock); }

void NameList::SortLoose() {
  std::sort(places_.begin(), places_.end(), [this](uint32_t a, uint32_t b) { return At(a) < At(b); });
}

void NameList::PackLoose() {
  SortLoose();
  Run run;
  std::string raw;
  auto pack = [&] {
    run.blocks.push_back(store::EncodeChunk(raw));
    run.blocks.back().bytes.shrink_to_fit();
    raw.clear();
  };
  for (uint32_t place : places_) {
    const std::string_view name = At(place);
    if (raw.size() + 1 + name.size() > kBlock) pack();
    raw.push_back(static_cast<char>(name.size()));
    raw.append(name);
  }
  if (!raw.empty()) pack();
  std::reverse(run.blocks.begin(), run.blocks.end());
  runs_.push_back(std::move(run));
  loose_.clear();
  places_.clear();
}

bool NameList::Later(const Run& a, const Run& b) { return a.name() > b.name(); }

std::string_view NameList::Run::name() const { return NameAt(open.data() + at); }

absl::StatusOr<bool> NameList::Run::Load() {
  if (at < open.size()) return true;
  if (blocks.empty()) return false;
  const store::StoredChunk& block = blocks.back();
  BW_ASSIGN_OR_RETURN(open, store::Decompress(block.codec, block.raw_length, block.bytes));
  blocks.pop_back();
  at = 0;
  return true;
}

absl::Status NameList::Sort() {
  if (runs_.empty()) {
    SortLoose();
    return absl::OkStatus();
  }
  PackLoose();
  for (Run& run : runs_) BW_RETURN_IF_ERROR(run.Load().status());
  std::make_heap(runs_.begin(), runs_.end(), Later);
  return absl::OkStatus();
}

absl::StatusOr<bool> NameList::Next(std::string* name) {
  if (runs_.empty()) {
    if (next_ == places_.size()) return false;
    name->assign(At(places_[next_++]));
    return true;
  }
  std::pop_heap(runs_.begin(), runs_.end(), Later);
  Run& run = runs_.back();
  name->assign(run.name());
  run.at += 1 + name->size();
  BW_ASSIGN_OR_RETURN(const bool more, run.Load());
  if (more) {
    std::push_heap(runs_.begin(), runs_.end(), Later);
  } else {
    runs_.pop_back();
  }
  return true;
}

}  // namespace bailiwick::agent
