// A small law whose keys the targets hold, so that what they sign gets past the signature to the parser behind it. The
// keys are no secrets.
#pragma once

#include <string>
#include <string_view>

#include "common/crypto/sign.h"
#include "common/policy/model.h"

namespace bailiwick::fuzz {

const crypto::SigningKey& Key(char seed = 'k');

// Sites home, relay and far in regions eu/home, eu/relay, eu/far; their agents are called a1. Every key is Key().
const policy::World& TheWorld();
std::string UriOf(const std::string& site);  // SPIFFE id of its agent
absl::Time Now();                            // at which its flows are judged

crypto::Envelope Signed(std::string_view type, std::string_view payload);

}  // namespace bailiwick::fuzz
