#include "common/crypto/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "common/crypto/sha256_pair.h"

namespace bailiwick::crypto {
namespace {

// Fetched once: OpenSSL 3 looks a digest up by name at each use otherwise, which costs more than hashing a small chunk.
const EVP_MD* Sha256Method() {
  static const EVP_MD* method = [] {
    const EVP_MD* fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    if (fetched == nullptr) std::abort();  // no provider of SHA-256: nothing can work
    return fetched;
  }();
  return method;
}

struct Context {
  Context() : ctx(EVP_MD_CTX_new()) {
    if (ctx == nullptr) std::abort();
  }
  ~Context() { EVP_MD_CTX_free(ctx); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  EVP_MD_CTX* ctx;
};

void Check(int ok) {
  if (ok != 1) std::abort();  // hashing memory cannot fail
}

Digest FinishInto(EVP_MD_CTX* ctx) {
  Digest digest;
  unsigned size = 0;
  Check(EVP_DigestFinal_ex(ctx, digest.bytes.data(), &size));
  Check(size == Digest::kSize);
  digest.algorithm = Digest::kSha256;
  return digest;
}

void PutBigEndian(uint64_t value, size_t bytes, uint8_t* out) {
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>(value >> (8 * (bytes - 1 - i)));
}

// One message on its way: hands out runs of whole blocks, of the message where they lie in one part, else of a block put
// together from several, at last of the padding (FIPS 180-4, 5.1.1).
class Lane {
 public:
  bool busy() const { return digest_ != nullptr; }

  void Begin(std::span<const std::string_view> parts, Digest* digest) {
    state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    parts_ = parts;
    length_ = 0;
    for (std::string_view part : parts) length_ += part.size();
    digest_ = digest;
    padded_ = false;
    run_blocks_ = 0;
    Refill();
  }

  uint32_t* state() { return state_.data(); }
  const uint8_t* run() const { return run_; }
  size_t run_blocks() const { return run_blocks_; }

  void Advance(size_t blocks) {
    run_ += blocks * kBlock;
    run_blocks_ -= blocks;
    if (run_blocks_ == 0) Refill();
  }

 private:
  static constexpr size_t kBlock = 64;

  void Refill() {
    if (padded_) return Finish();
    while (!parts_.empty() && parts_.front().size() == offset_) NextPart();
    if (!parts_.empty() && parts_.front().size() - offset_ >= kBlock) {
      const size_t blocks = (parts_.front().size() - offset_) / kBlock;
      run_ = reinterpret_cast<const uint8_t*>(parts_.front().data()) + offset_;
      run_blocks_ = blocks;
      offset_ += blocks * kBlock;
      return;
    }
    size_t filled = 0;
    while (!parts_.empty() && filled < kBlock) {
      const size_t n = std::min(kBlock - filled, parts_.front().size() - offset_);
      if (n > 0) std::memcpy(tail_.data() + filled, parts_.front().data() + offset_, n);
      filled += n;
      offset_ += n;
      if (offset_ == parts_.front().size()) NextPart();
    }
    run_ = tail_.data();
    run_blocks_ = 1;
    if (filled == kBlock) return;
    run_blocks_ = filled + 1 + sizeof length_ <= kBlock ? 1 : 2;
    tail_[filled] = 0x80;
    const size_t end = run_blocks_ * kBlock - sizeof length_;
    std::memset(tail_.data() + filled + 1, 0, end - filled - 1);
    PutBigEndian(length_ * 8, sizeof length_, tail_.data() + end);
    padded_ = true;
  }

  void NextPart() {
    parts_ = parts_.subspan(1);
    offset_ = 0;
  }

  void Finish() {
    for (size_t i = 0; i < state_.size(); ++i) PutBigEndian(state_[i], 4, digest_->bytes.data() + 4 * i);
    digest_->algorithm = Digest::kSha256;
    digest_ = nullptr;
  }

  std::array<uint32_t, 8> state_{};
  std::span<const std::string_view> parts_;
  size_t offset_ = 0;  // in the first of them
  uint64_t length_ = 0;
  Digest* digest_ = nullptr;
  bool padded_ = false;
  std::array<uint8_t, 2 * kBlock> tail_{};
  const uint8_t* run_ = nullptr;
  size_t run_blocks_ = 0;
};

// OpenSSL does what it is told to be validated for (FIPS mode), and what the processor has no instructions for.
bool UsePairs() {
  static const bool use = HasBlockPairs() && EVP_default_properties_is_fips_enabled(nullptr) == 0;
  return use;
}

}  // namespace

Digest Sha256(std::string_view data) { return Sha256(std::span<const std::string_view>(&data, 1)); }

Digest Sha256(std::span<const std::string_view> parts) {
  thread_local Context context;
  Check(EVP_DigestInit_ex2(context.ctx, Sha256Method(), nullptr));
  for (std::string_view part : parts) Check(EVP_DigestUpdate(context.ctx, part.data(), part.size()));
  return FinishInto(context.ctx);
}

void Sha256Each(std::span<const std::span<const std::string_view>> messages, std::span<Digest> digests) {
  if (!UsePairs()) {
    for (size_t i = 0; i < messages.size(); ++i) digests[i] = Sha256(messages[i]);
    return;
  }
  std::array<Lane, 2> lanes;
  size_t next = 0;
  while (true) {
    for (Lane& lane : lanes) {
      if (lane.busy() || next == messages.size()) continue;
      lane.Begin(messages[next], &digests[next]);
      ++next;
    }
    if (lanes[0].busy() && lanes[1].busy()) {
      const size_t blocks = std::min(lanes[0].run_blocks(), lanes[1].run_blocks());
      HashBlockPairs(lanes[0].state(), lanes[0].run(), lanes[1].state(), lanes[1].run(), blocks);
      for (Lane& lane : lanes) lane.Advance(blocks);
      continue;
    }
    Lane& last = lanes[0].busy() ? lanes[0] : lanes[1];
    if (!last.busy()) return;
    const size_t blocks = last.run_blocks();
    HashBlocks(last.state(), last.run(), blocks);
    last.Advance(blocks);
  }
}

struct Hasher::State {
  Context context;
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  Check(EVP_DigestInit_ex2(state_->context.ctx, Sha256Method(), nullptr));
}

Hasher::~Hasher() = default;

void Hasher::Update(std::string_view data) { Check(EVP_DigestUpdate(state_->context.ctx, data.data(), data.size())); }

Digest Hasher::Finish() {
  Digest digest = FinishInto(state_->context.ctx);
  Check(EVP_DigestInit_ex2(state_->context.ctx, Sha256Method(), nullptr));
  return digest;
}

}  // namespace bailiwick::crypto
