#include "common/crypto/sha256_pair.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace bailiwick::crypto {

#if defined(__x86_64__)
namespace {

alignas(16) constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define BW_SHA __attribute__((target("sha,sse4.1,ssse3")))

__m128i* Vectors(uint32_t* state) { return reinterpret_cast<__m128i*>(state); }

// The instructions want the state as ABEF and CDGH.
BW_SHA inline void Enter(const __m128i* state, __m128i* abef, __m128i* cdgh) {
  const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(state), 0xB1);
  const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(state + 1), 0x1B);
  *abef = _mm_alignr_epi8(cdab, efgh, 8);
  *cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
}

BW_SHA inline void Leave(__m128i* state, __m128i abef, __m128i cdgh) {
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(state, _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(state + 1, _mm_alignr_epi8(dchg, feba, 8));
}

template <int kLanes>
BW_SHA void Blocks(uint32_t* const* states, const uint8_t* const* messages, size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
  __m128i abef[kLanes], cdgh[kLanes];
  const uint8_t* at[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    Enter(Vectors(states[i]), &abef[i], &cdgh[i]);
    at[i] = messages[i];
  }
  for (; blocks > 0; --blocks) {
    __m128i words[kLanes][4], abef_before[kLanes], cdgh_before[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      abef_before[i] = abef[i];
      cdgh_before[i] = cdgh[i];
      for (int j = 0; j < 4; ++j) {
        const __m128i loaded = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at[i] + 16 * j));
        words[i][j] = _mm_shuffle_epi8(loaded, big_endian);
      }
      at[i] += 64;
    }
#pragma GCC unroll 16
    for (int round = 0; round < 16; ++round) {  // four rounds each
      const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(kRound) + round);
#pragma GCC unroll 2
      for (int i = 0; i < kLanes; ++i) {
        __m128i* w = words[i];
        const __m128i sum = _mm_add_epi32(w[round & 3], constants);
        cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], sum);
        abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], _mm_shuffle_epi32(sum, 0x0E));
        if (round >= 12) continue;  // all words of the schedule are there
        const __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(w[round & 3], w[(round + 1) & 3]),
                                           _mm_alignr_epi8(w[(round + 3) & 3], w[(round + 2) & 3], 4));
        w[round & 3] = _mm_sha256msg2_epu32(next, w[(round + 3) & 3]);
      }
    }
    for (int i = 0; i < kLanes; ++i) {
      abef[i] = _mm_add_epi32(abef[i], abef_before[i]);
      cdgh[i] = _mm_add_epi32(cdgh[i], cdgh_before[i]);
    }
  }
  for (int i = 0; i < kLanes; ++i) Leave(Vectors(states[i]), abef[i], cdgh[i]);
}

}  // namespace

bool HasBlockPairs() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSSE3) == 0 || (c & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

void HashBlockPairs(uint32_t* state0, const uint8_t* message0, uint32_t* state1, const uint8_t* message1,
                    size_t blocks) {
  uint32_t* const states[] = {state0, state1};
  const uint8_t* const messages[] = {message0, message1};
  Blocks<2>(states, messages, blocks);
}

void HashBlocks(uint32_t* state, const uint8_t* message, size_t blocks) { Blocks<1>(&state, &message, blocks); }

#else

bool HasBlockPairs() { return false; }
void HashBlockPairs(uint32_t*, const uint8_t*, uint32_t*, const uint8_t*, size_t) { std::abort(); }
void HashBlocks(uint32_t*, const uint8_t*, size_t) { std::abort(); }

#endif

}  // namespace bailiwick::crypto
