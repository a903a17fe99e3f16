// SHA-256 (FIPS 180-4) of two messages at once with the SHA extensions of x86: one message leaves half of the unit idle,
// because each of its rounds waits for the one before (Gulley, Gopal et al., "Intel SHA Extensions", 2013).
#pragma once

#include <cstddef>
#include <cstdint>

namespace bailiwick::crypto {

// Whether this processor has what HashBlockPairs needs.
bool HasBlockPairs();

// Goes on with two states (a to h, in the machine's own order) by `blocks` blocks of 64 bytes of each message.
void HashBlockPairs(uint32_t* state0, const uint8_t* message0, uint32_t* state1, const uint8_t* message1, size_t blocks);

// The same with one.
void HashBlocks(uint32_t* state, const uint8_t* message, size_t blocks);

}  // namespace bailiwick::crypto
