#include "services/agent/work/dataset_metrics.h"

#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/telemetry/metrics.h"

namespace bailiwick::agent {
namespace {

using telemetry::CounterFamily;
using telemetry::HistogramFamily;

// What was said last of each dataset; its series go with it.
class Figures {
 public:
  void Say(const std::string& dataset, const DatasetFigures& figures) {
    absl::MutexLock lock(&mutex_);
    known_[dataset] = figures;
  }
  void Forget(const std::string& dataset) {
    absl::MutexLock lock(&mutex_);
    known_.erase(dataset);
  }
  void Collect(telemetry::Exposition* out) const {
    absl::MutexLock lock(&mutex_);
    for (const auto& [dataset, f] : known_) {
      auto gauge = [&, name = &dataset](const char* metric, const char* help, auto value) {
        out->Gauge(metric, help, {{"dataset", *name}}, static_cast<double>(value));
      };
      gauge("bailiwick_agent_dataset_versions", "Versions of the dataset that lie here.", f.versions);
      gauge("bailiwick_agent_dataset_newest_version", "Number of the newest version here, 0 without one.", f.newest);
      gauge("bailiwick_agent_dataset_current_version", "Number of the version that is laid out, 0 without one.",
            f.current);
      gauge("bailiwick_agent_dataset_logical_bytes",
            "Size of all versions here, each as if it stood alone: divided by the stored bytes, what deduplication "
            "and compression together save.",
            f.logical_bytes);
      gauge("bailiwick_agent_dataset_versions_given_up",
            "Versions whose content the home gave up, because other sites hold it (dropAfterCopies).", f.given_up);
      gauge("bailiwick_agent_dataset_packs", "Packs of chunks of the dataset.", f.packs);
      gauge("bailiwick_agent_dataset_chunks", "Chunks in the packs of the dataset; dead ones until they are collected.",
            f.chunks);
      gauge("bailiwick_agent_dataset_stored_bytes", "Size of the packs of the dataset.", f.stored_bytes);
      gauge("bailiwick_agent_dataset_problem",
            "1 while its source or its layout has a problem; dataset list tells which.", f.problem);
      gauge("bailiwick_agent_dataset_fenced", "1 while the law keeps the copy here, or versions of it, out of use.",
            f.fenced);
      if (f.read_back_at == absl::InfinitePast()) continue;
      gauge("bailiwick_agent_dataset_read_back_timestamp_seconds",
            "When the copy here was last read back whole, chunk by chunk; where it never was, since when it is here.",
            absl::ToDoubleSeconds(f.read_back_at - absl::UnixEpoch()));
      gauge("bailiwick_agent_dataset_damaged_chunks", "Chunks that were damaged when it was last read back.",
            f.damaged);
    }
  }

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, DatasetFigures> known_ ABSL_GUARDED_BY(mutex_);
};
Figures datasets;

HistogramFamily commits("bailiwick_agent_commit_duration_seconds", "How long commits took, by how they ended.",
                        {"result"});
CounterFamily new_bytes_of("bailiwick_agent_commit_new_bytes_total", "Bytes that commits have added to packs.",
                           {"dataset"});

}  // namespace

void SayFigures(const std::string& dataset, const DatasetFigures& figures) { datasets.Say(dataset, figures); }
void ForgetFigures(const std::string& dataset) { datasets.Forget(dataset); }
void CollectFigures(telemetry::Exposition* out) { datasets.Collect(out); }

void CountCommit(const std::string& dataset, const std::string& result, uint64_t new_bytes, absl::Duration took) {
  commits.With({result}).Observe(took);
  new_bytes_of.With({dataset}).Add(new_bytes);
}

}  // namespace bailiwick::agent
