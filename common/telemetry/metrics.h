// What a process counts, and how it is written for Prometheus. Names begin with bailiwick_, values are in base units
// (seconds, bytes), counters end in _total. Values that something else holds already are asked for at each scrape
// (Exposition); what only happens is counted where it happens (CounterFamily, GaugeFamily, HistogramFamily), in objects
// of static storage duration. Never a label with the name of a file.
//
// Labels are bounded: a family keeps kMaxSeries sets of them, what comes later is counted under "other" in each; of one
// scraped family no more than kMaxSamples are written, and bailiwick_metrics_dropped_samples says how many were not.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace bailiwick::telemetry {

inline constexpr size_t kMaxSeries = 1000;
inline constexpr size_t kMaxSamples = 20'000;

// Thread-safe, wait-free.
class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// A value that goes up and down, where nothing else holds it. Thread-safe, wait-free.
class Value {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double delta) { value_.fetch_add(delta, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Of durations: from a millisecond to some hours. Thread-safe, wait-free; a scrape may see an observation in a part of
// the values only.
class Histogram {
 public:
  static constexpr std::array<double, 14> kBounds = {0.001, 0.005, 0.025, 0.1, 0.25, 1,    2.5,
                                                     5,     10,    30,    60,  300,  1800, 7200};
  void Observe(absl::Duration took);
  std::array<uint64_t, kBounds.size() + 1> counts() const;  // each bound's own, the last above all
  double sum_seconds() const { return static_cast<double>(sum_us_.load(std::memory_order_relaxed)) / 1e6; }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> counts_{};
  std::atomic<uint64_t> sum_us_{0};
};

using Labels = std::vector<std::pair<std::string, std::string>>;

// The samples of one scrape. Not thread-safe.
class Exposition {
 public:
  enum class Format { kText /* Prometheus text 0.0.4 */, kOpenMetrics /* 1.0 */ };

  // The help of a name is that of its first call.
  void Gauge(std::string_view name, std::string_view help, Labels labels, double value);
  void Count(std::string_view name, std::string_view help, Labels labels, double value);  // a name that ends in _total
  void Distribution(std::string_view name, std::string_view help, Labels labels, const Histogram& values);
  std::string Render(Format format) const;

 private:
  struct Sample {
    std::string suffix;  // "_bucket"
    Labels labels;
    double value = 0;
  };
  struct Family {
    const char* type = "";
    std::string help;
    std::vector<Sample> samples;
  };
  Family* Find(std::string_view name, std::string_view help, const char* type, size_t samples);

  std::map<std::string, Family> families_;
  uint64_t dropped_ = 0;
};

// The content type that goes with a format.
std::string ContentType(Exposition::Format format);
// What a client that sends this Accept header prefers; text when it does not say.
Exposition::Format Negotiate(std::string_view accept);

// What is counted in this process. Thread-safe.
class Family {
 public:
  virtual ~Family() = default;
  virtual void Collect(Exposition* out) const = 0;
};
void CollectFamilies(Exposition* out);  // all that exist

// Of instruments with the same name, one for each set of values of the labels that the family names. Thread-safe.
template <typename Instrument>
class FamilyOf final : public Family {
 public:
  FamilyOf(std::string name, std::string help, std::vector<std::string> labels);
  ~FamilyOf() override;
  // Lives as long as the family. As many values as there are labels.
  Instrument& With(std::vector<std::string> values);
  void Collect(Exposition* out) const override;

 private:
  const std::string name_, help_;
  const std::vector<std::string> labels_;
  mutable absl::Mutex mutex_;
  std::map<std::vector<std::string>, std::unique_ptr<Instrument>> series_ ABSL_GUARDED_BY(mutex_);
};
using CounterFamily = FamilyOf<Counter>;
using GaugeFamily = FamilyOf<Value>;
using HistogramFamily = FamilyOf<Histogram>;

}  // namespace bailiwick::telemetry
