#include "common/store/index_run.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/store/fixed_bytes.h"

namespace bailiwick::store {
namespace {

constexpr std::string_view kMagic = "BWIRUN1\n";
constexpr size_t kBlockBytes = 4096;
constexpr size_t kBlockHeaderBytes = 8;
constexpr size_t kEntryBytes = Digest::kSize + 4 + 8 + 8 + 4 + 4 + 8 + 1 + 1 + 1;
constexpr size_t kEntriesABlock = (kBlockBytes - kBlockHeaderBytes) / kEntryBytes;
constexpr size_t kFooterBytes = 8 + 4 + 4 + 8 + 8 + 8 + kMagic.size();
constexpr uint64_t kBlocksAtOnce = 64;  // read and written in order
constexpr int kProbes = 6;
constexpr uint64_t kFilterBitsAnEntry = 10;  // few looks for what is not there read a block in vain

template <typename T>
T At(const char* in) {
  std::string_view bytes(in, sizeof(T));
  return Take<T>(bytes);
}

uint32_t FenceOf(const char* digest) {
  const auto* b = reinterpret_cast<const unsigned char*>(digest);
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | b[3];
}

uint32_t CheckOf(const char* block) {
  return static_cast<uint32_t>(
      XXH3_64bits_withSeed(block + kBlockHeaderBytes, kBlockBytes - kBlockHeaderBytes, At<uint32_t>(block)));
}

const char* EntryAt(const char* block, uint32_t n) { return block + kBlockHeaderBytes + n * kEntryBytes; }

// Behind the digest.
struct Rest {
  uint32_t slot;
  uint8_t algorithm;
  IndexValue value;
};

Rest DecodeRest(const char* entry) {
  std::string_view in(entry + Digest::kSize, kEntryBytes - Digest::kSize);
  Rest out;
  out.slot = Take<uint32_t>(in);
  out.value.at.pack = Take<uint64_t>(in);
  out.value.at.offset = Take<uint64_t>(in);
  out.value.at.stored_length = Take<uint32_t>(in);
  out.value.at.raw_length = Take<uint32_t>(in);
  out.value.at.checksum = Take<uint64_t>(in);
  out.value.at.codec = Take<uint8_t>(in);
  out.algorithm = Take<uint8_t>(in);
  out.value.removed = Take<uint8_t>(in) != 0;
  return out;
}

}  // namespace

std::strong_ordering IndexKey::operator<=>(const IndexKey& other) const {
  if (auto by = std::memcmp(digest.bytes.data(), other.digest.bytes.data(), Digest::kSize) <=> 0; by != 0) return by;
  if (auto by = digest.algorithm <=> other.digest.algorithm; by != 0) return by;
  return dataset.bytes <=> other.dataset.bytes;
}

Digest MarkOf(PackId pack) {
  Digest mark;
  const uint64_t words[] = {XXH3_64bits(&pack, sizeof pack), XXH3_64bits_withSeed(&pack, sizeof pack, 1), pack};
  static_assert(sizeof words <= Digest::kSize);
  std::memcpy(mark.bytes.data(), words, sizeof words);
  return mark;
}

uint64_t IndexFilter::BytesFor(uint64_t entries) {
  return (entries * kFilterBitsAnEntry / 8 / sizeof(Block) + 1) * sizeof(Block);
}

namespace {

// The block by 32 bits of the digest, the bits in it by 32 others; none of those that order the entries.
struct Probe {
  Probe(const Digest& digest, size_t blocks)
      : block(At<uint32_t>(Bytes(digest) + 8) * uint64_t{blocks} >> 32), bits(At<uint32_t>(Bytes(digest) + 12)) {}
  static const char* Bytes(const Digest& digest) { return reinterpret_cast<const char*>(digest.bytes.data()); }
  // Nine bits a turn, by multiplying with the golden ratio.
  uint32_t Next() {
    bits *= 0x9e3779b1u;
    return bits >> 23;
  }
  size_t block;
  uint32_t bits;
};

}  // namespace

void IndexFilter::Add(const Digest& digest) {
  if (blocks_.empty()) return;
  Probe probe(digest, blocks_.size());
  for (int i = 0; i < kProbes; ++i) {
    const uint32_t bit = probe.Next();
    blocks_[probe.block][bit / 64] |= uint64_t{1} << bit % 64;
  }
}

bool IndexFilter::MayHold(const Digest& digest) const {
  Probe probe(digest, blocks_.size());
  for (int i = 0; i < kProbes; ++i) {
    const uint32_t bit = probe.Next();
    if ((blocks_[probe.block][bit / 64] >> bit % 64 & 1) == 0) return false;
  }
  return true;
}

absl::StatusOr<std::shared_ptr<const IndexRun>> IndexRun::Open(os::Files* files, const std::string& path) {
  auto damaged = [&] {
    return absl::DataLossError(absl::StrCat(path, " is damaged, or not a run of the chunk index"));
  };
  std::shared_ptr<IndexRun> run(new IndexRun);
  run->path_ = path;
  BW_ASSIGN_OR_RETURN(run->file_, files->OpenRead(path));
  BW_ASSIGN_OR_RETURN(const uint64_t size, run->file_->Size());
  char footer[kFooterBytes];
  if (size < sizeof footer) return damaged();
  BW_ASSIGN_OR_RETURN(size_t n, run->file_->ReadAt(size - sizeof footer, footer, sizeof footer));
  std::string_view in(footer, sizeof footer);
  run->entries_ = Take<uint64_t>(in);
  const auto blocks = Take<uint32_t>(in), datasets = Take<uint32_t>(in);
  run->filter_bytes_ = Take<uint64_t>(in);
  run->filter_check_ = Take<uint64_t>(in);
  const auto check = Take<uint64_t>(in);
  if (n != sizeof footer || in != kMagic) return damaged();
  const uint64_t tables = blocks * sizeof(uint32_t) + datasets * sizeof(DatasetId::bytes);
  run->filter_at_ = uint64_t{blocks} * kBlockBytes + tables;
  if (run->filter_bytes_ > size || run->filter_at_ + run->filter_bytes_ + sizeof footer != size) return damaged();

  std::string bytes(tables, '\0');
  BW_ASSIGN_OR_RETURN(n, run->file_->ReadAt(uint64_t{blocks} * kBlockBytes, bytes.data(), bytes.size()));
  bytes.append(footer, sizeof footer - kMagic.size() - sizeof check);
  if (n != tables || XXH3_64bits(bytes.data(), bytes.size()) != check) return damaged();
  for (uint32_t i = 0; i < blocks; ++i) run->fences_.push_back(At<uint32_t>(bytes.data() + i * sizeof(uint32_t)));
  for (uint32_t i = 0; i < datasets; ++i) {
    DatasetId id;
    std::memcpy(id.bytes.data(), bytes.data() + blocks * sizeof(uint32_t) + i * sizeof id.bytes, sizeof id.bytes);
    run->slots_.emplace(id, i);
    run->datasets_.push_back(id);
  }
  return run;
}

absl::Status IndexRun::ReadBlocks(uint64_t first, uint64_t count, char* out) const {
  BW_ASSIGN_OR_RETURN(const size_t n, file_->ReadAt(first * kBlockBytes, out, count * kBlockBytes));
  for (uint64_t i = 0; i < count; ++i) {
    const char* block = out + i * kBlockBytes;
    const auto entries = At<uint32_t>(block);
    if (n < (i + 1) * kBlockBytes || entries == 0 || entries > kEntriesABlock ||
        At<uint32_t>(block + sizeof entries) != CheckOf(block)) {
      return absl::DataLossError(absl::StrCat(path_, ": block ", first + i, " is damaged"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<IndexValue>> IndexRun::Find(const IndexKey& key) const {
  const auto slot = slots_.find(key.dataset);
  if (slot == slots_.end()) return std::nullopt;
  const auto* wanted = reinterpret_cast<const char*>(key.digest.bytes.data());
  // The last block that begins at or before it; where several begin with the same four bytes, also those before.
  auto after = std::upper_bound(fences_.begin(), fences_.end(), FenceOf(wanted));
  char block[kBlockBytes];
  while (after != fences_.begin()) {
    --after;
    BW_RETURN_IF_ERROR(ReadBlocks(static_cast<uint64_t>(after - fences_.begin()), 1, block));
    const auto entries = At<uint32_t>(block);
    uint32_t low = 0, high = entries;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (std::memcmp(EntryAt(block, middle), wanted, Digest::kSize) < 0) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (uint32_t i = low; i < entries && std::memcmp(EntryAt(block, i), wanted, Digest::kSize) == 0; ++i) {
      const Rest rest = DecodeRest(EntryAt(block, i));
      if (rest.slot == slot->second && rest.algorithm == key.digest.algorithm) return rest.value;
    }
    if (low > 0) break;
  }
  return std::nullopt;
}

absl::StatusOr<std::shared_ptr<const IndexFilter>> IndexRun::LoadFilter() const {
  if (filter_bytes_ == 0) return nullptr;
  auto filter = std::make_shared<IndexFilter>(filter_bytes_);
  BW_ASSIGN_OR_RETURN(const size_t n, file_->ReadAt(filter_at_, filter->data(), filter_bytes_));
  if (n != filter_bytes_ || filter->bytes() != n || XXH3_64bits(filter->data(), n) != filter_check_) {
    return absl::DataLossError(absl::StrCat(path_, ": the filter is damaged"));
  }
  return filter;
}

absl::StatusOr<bool> IndexRun::Cursor::Next(IndexEntry* entry) {
  const char* block = buffer_.data() + block_ * kBlockBytes;
  if (!buffer_.empty() && entry_ == At<uint32_t>(block)) {
    entry_ = 0;
    block += kBlockBytes;
    ++block_;
  }
  if (block_ * kBlockBytes == buffer_.size()) {
    const uint64_t count = std::min<uint64_t>(kBlocksAtOnce, run_->fences_.size() - buffered_);
    if (count == 0) return false;
    buffer_.resize(count * kBlockBytes);
    BW_RETURN_IF_ERROR(run_->ReadBlocks(buffered_, count, buffer_.data()));
    buffered_ += count;
    block_ = 0;
    block = buffer_.data();
  }
  const char* at = EntryAt(block, entry_++);
  const Rest rest = DecodeRest(at);
  if (rest.slot >= run_->datasets_.size()) return absl::DataLossError(absl::StrCat(run_->path_, " is damaged"));
  entry->key.dataset = run_->datasets_[rest.slot];
  entry->key.digest.algorithm = rest.algorithm;
  std::memcpy(entry->key.digest.bytes.data(), at, Digest::kSize);
  entry->value = rest.value;
  return true;
}

absl::StatusOr<std::unique_ptr<IndexRunWriter>> IndexRunWriter::Create(os::Files* files, const std::string& path,
                                                                       uint64_t filter_bytes) {
  BW_ASSIGN_OR_RETURN(auto file, files->CreateNew(path));
  return std::unique_ptr<IndexRunWriter>(new IndexRunWriter(std::move(file), filter_bytes));
}

absl::Status IndexRunWriter::Add(const IndexEntry& entry) {
  const auto* digest = reinterpret_cast<const char*>(entry.key.digest.bytes.data());
  if (block_.empty()) fences_.push_back(FenceOf(digest));
  auto [slot, added] = slots_.try_emplace(entry.key.dataset, static_cast<uint32_t>(datasets_.size()));
  if (added) datasets_.push_back(entry.key.dataset);
  const ChunkLocation& at = entry.value.at;
  block_.append(digest, Digest::kSize);
  Put<uint32_t>(block_, slot->second);
  Put<uint64_t>(block_, at.pack);
  Put<uint64_t>(block_, at.offset);
  Put<uint32_t>(block_, at.stored_length);
  Put<uint32_t>(block_, at.raw_length);
  Put<uint64_t>(block_, at.checksum);
  Put<uint8_t>(block_, at.codec);
  Put<uint8_t>(block_, entry.key.digest.algorithm);
  Put<uint8_t>(block_, entry.value.removed ? 1 : 0);
  filter_.Add(entry.key.digest);
  ++entries_;
  if (block_.size() < kEntriesABlock * kEntryBytes) return absl::OkStatus();
  EndBlock();
  return out_.size() < kBlocksAtOnce * kBlockBytes ? absl::OkStatus() : WriteOut();
}

void IndexRunWriter::EndBlock() {
  if (block_.empty()) return;
  const size_t start = out_.size();
  Put(out_, static_cast<uint32_t>(block_.size() / kEntryBytes));
  Put(out_, uint32_t{0});
  out_.append(block_);
  out_.resize(start + kBlockBytes);
  const uint32_t check = CheckOf(out_.data() + start);
  std::memcpy(out_.data() + start + sizeof check, &check, sizeof check);
  block_.clear();
}

absl::Status IndexRunWriter::WriteOut() {
  BW_RETURN_IF_ERROR(file_->WriteAt(written_, out_));
  written_ += out_.size();
  out_.clear();
  return absl::OkStatus();
}

absl::Status IndexRunWriter::Finish() {
  EndBlock();
  BW_RETURN_IF_ERROR(WriteOut());
  std::string checked;
  for (uint32_t fence : fences_) Put(checked, fence);
  for (const DatasetId& id : datasets_) checked.append(id.view());
  out_ = checked;
  out_.append(filter_.data(), filter_.bytes());
  std::string footer;
  Put<uint64_t>(footer, entries_);
  Put<uint32_t>(footer, static_cast<uint32_t>(fences_.size()));
  Put<uint32_t>(footer, static_cast<uint32_t>(datasets_.size()));
  Put<uint64_t>(footer, filter_.bytes());
  Put<uint64_t>(footer, XXH3_64bits(filter_.data(), filter_.bytes()));
  checked += footer;
  Put<uint64_t>(footer, XXH3_64bits(checked.data(), checked.size()));
  out_ += footer;
  out_.append(kMagic);
  BW_RETURN_IF_ERROR(WriteOut());
  return file_->Sync();
}

}  // namespace bailiwick::store
