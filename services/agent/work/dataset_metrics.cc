#include "services/agent/work/dataset_metrics.h"

#include "common/telemetry/metrics.h"

namespace bailiwick::agent {
namespace {

using telemetry::CounterFamily;
using telemetry::GaugeFamily;
using telemetry::HistogramFamily;

GaugeFamily versions("bailiwick_agent_dataset_versions", "Versions of the dataset that lie here.", {"dataset"});
GaugeFamily newest("bailiwick_agent_dataset_newest_version", "Number of the newest version here, 0 without one.",
                   {"dataset"});
GaugeFamily current("bailiwick_agent_dataset_current_version", "Number of the version that is laid out, 0 without one.",
                    {"dataset"});
GaugeFamily logical(
    "bailiwick_agent_dataset_logical_bytes",
    "Size of all versions here, each as if it stood alone: divided by the stored bytes, what deduplication "
    "and compression together save.",
    {"dataset"});
GaugeFamily packs("bailiwick_agent_dataset_packs", "Packs of chunks of the dataset.", {"dataset"});
GaugeFamily stored("bailiwick_agent_dataset_stored_bytes", "Size of the packs of the dataset.", {"dataset"});
GaugeFamily problem("bailiwick_agent_dataset_problem",
                    "1 while its source or its layout has a problem; dataset list tells which.", {"dataset"});
GaugeFamily fenced("bailiwick_agent_dataset_fenced",
                   "1 while the law keeps the copy here, or versions of it, out of use.", {"dataset"});
HistogramFamily commits("bailiwick_agent_commit_duration_seconds", "How long commits took, by how they ended.",
                        {"result"});
CounterFamily new_bytes_of("bailiwick_agent_commit_new_bytes_total", "Bytes that commits have added to packs.",
                           {"dataset"});

}  // namespace

void SayFigures(const std::string& dataset, const DatasetFigures& figures) {
  versions.With({dataset}).Set(static_cast<double>(figures.versions));
  newest.With({dataset}).Set(static_cast<double>(figures.newest));
  current.With({dataset}).Set(static_cast<double>(figures.current));
  logical.With({dataset}).Set(static_cast<double>(figures.logical_bytes));
  packs.With({dataset}).Set(static_cast<double>(figures.packs));
  stored.With({dataset}).Set(static_cast<double>(figures.stored_bytes));
  problem.With({dataset}).Set(figures.problem ? 1 : 0);
  fenced.With({dataset}).Set(figures.fenced ? 1 : 0);
}

void CountCommit(const std::string& dataset, const std::string& result, uint64_t new_bytes, absl::Duration took) {
  commits.With({result}).Observe(took);
  new_bytes_of.With({dataset}).Add(new_bytes);
}

}  // namespace bailiwick::agent
