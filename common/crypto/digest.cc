#include "common/crypto/digest.h"

#include <openssl/evp.h>

#include <cstdlib>

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

}  // namespace

Digest Sha256(std::string_view data) { return Sha256(std::span<const std::string_view>(&data, 1)); }

Digest Sha256(std::span<const std::string_view> parts) {
  thread_local Context context;
  Check(EVP_DigestInit_ex2(context.ctx, Sha256Method(), nullptr));
  for (std::string_view part : parts) Check(EVP_DigestUpdate(context.ctx, part.data(), part.size()));
  return FinishInto(context.ctx);
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
