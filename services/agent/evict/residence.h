// May a dataset lie at this site, by the law installed here? Pure.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "services/agent/evict/fence.h"
#include "services/agent/law/law.h"

namespace bailiwick::agent {

// The verified classification of a dataset that may lie here: also of a stream whose site has left its family since,
// which is what it was. NOT_FOUND: nobody who may has signed what it is.
absl::StatusOr<config::Classification> ClassifyHeld(const LawSnapshot& law, DatasetId id, const std::string& name);

struct Residence {
  Verdict verdict;
  bool home = false;
};
// `reside`, from the dataset's home to `site`, at what may be believed of the time; `known` is what is known to have
// come of it, not later than `now`. What cannot be evaluated is unlawful and not judged.
Residence JudgeResidence(const LawSnapshot& law, DatasetId id, const std::string& name, const std::string& site,
                         absl::Time now, absl::Time known);

}  // namespace bailiwick::agent
