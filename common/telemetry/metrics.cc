#include "common/telemetry/metrics.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace bailiwick::telemetry {
namespace {

constexpr std::string_view kTotal = "_total";

// Shortest form that reads back as the same number.
std::string Number(double value, bool with_point) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (value == std::floor(value) && std::abs(value) < 9e15) {
    return absl::StrCat(static_cast<int64_t>(value), with_point ? ".0" : "");
  }
  char text[32];
  for (int digits = 6; digits <= 17; ++digits) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    double back = 0;
    if (absl::SimpleAtod(text, &back) && back == value) break;
  }
  return text;
}

// Names in this system are ASCII; anything else must not break the format.
std::string Escape(std::string_view text, bool quotes) {
  std::string out;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += byte < ' ' || byte >= 0x7f ? '?' : c;
    }
  }
  return out;
}

std::string Written(const Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    absl::StrAppend(&out, out.empty() ? "{" : ",", name, "=\"", Escape(value, true), "\"");
  }
  return out.empty() ? out : out + "}";
}

struct Families {
  absl::Mutex mutex;
  std::set<const Family*> all ABSL_GUARDED_BY(mutex);
};
Families& Known() {
  static Families* const families = new Families;  // outlives those of static storage duration
  return *families;
}

// The weight that an Accept header gives to a type, by its most specific range; -1: none of it fits.
double Weight(std::string_view accept, const char* type, const char* subtype_range) {
  double exact = -1, range = -1, any = -1;
  for (absl::string_view part : absl::StrSplit(absl::string_view(accept.data(), accept.size()), ',')) {
    std::vector<absl::string_view> fields = absl::StrSplit(part, ';');
    double q = 1;
    bool known_version = true;
    for (size_t i = 1; i < fields.size(); ++i) {
      absl::string_view field = absl::StripAsciiWhitespace(fields[i]);
      if (absl::ConsumePrefix(&field, "q=") && (!absl::SimpleAtod(field, &q) || !(q >= 0 && q <= 1))) q = 0;
      if (absl::ConsumePrefix(&field, "version=")) known_version = field == "1.0.0" || field == "0.0.4";
    }
    const absl::string_view name = absl::StripAsciiWhitespace(fields[0]);
    if (name == type && known_version) exact = std::max(exact, q);
    if (name == subtype_range) range = std::max(range, q);
    if (name == "*/*") any = std::max(any, q);
  }
  return exact >= 0 ? exact : range >= 0 ? range : any;
}

}  // namespace

void Histogram::Observe(absl::Duration took) {
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(took));
  const size_t at = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  counts_[at].fetch_add(1, std::memory_order_relaxed);
  sum_us_.fetch_add(static_cast<uint64_t>(std::min(seconds, 1e12) * 1e6), std::memory_order_relaxed);
}

std::array<uint64_t, Histogram::kBounds.size() + 1> Histogram::counts() const {
  std::array<uint64_t, kBounds.size() + 1> out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = counts_[i].load(std::memory_order_relaxed);
  return out;
}

Exposition::Family* Exposition::Find(std::string_view name, std::string_view help, const char* type, size_t samples) {
  Family& family = families_[std::string(name)];
  if (family.samples.empty()) {
    family.type = type;
    family.help = help;
  }
  if (family.samples.size() + samples > kMaxSamples) {
    dropped_ += samples;
    return nullptr;
  }
  return &family;
}

void Exposition::Gauge(std::string_view name, std::string_view help, Labels labels, double value) {
  if (Family* family = Find(name, help, "gauge", 1)) family->samples.push_back({"", std::move(labels), value});
}

void Exposition::Count(std::string_view name, std::string_view help, Labels labels, double value) {
  if (Family* family = Find(name, help, "counter", 1)) family->samples.push_back({"", std::move(labels), value});
}

void Exposition::Distribution(std::string_view name, std::string_view help, Labels labels, const Histogram& values) {
  const auto counts = values.counts();
  Family* family = Find(name, help, "histogram", counts.size() + 2);
  if (family == nullptr) return;
  uint64_t below = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    below += counts[i];
    Labels with = labels;
    with.emplace_back("le", i < Histogram::kBounds.size() ? Number(Histogram::kBounds[i], true) : "+Inf");
    family->samples.push_back({"_bucket", std::move(with), static_cast<double>(below)});
  }
  family->samples.push_back({"_sum", labels, values.sum_seconds()});
  family->samples.push_back({"_count", std::move(labels), static_cast<double>(below)});
}

std::string Exposition::Render(Format format) const {
  const bool open = format == Format::kOpenMetrics;
  std::string out;
  auto write = [&](const std::string& name, const Family& family) {
    const bool counter = std::string_view(family.type) == "counter";
    const std::string title = open && counter ? name.substr(0, name.size() - kTotal.size()) : name;
    absl::StrAppend(&out, "# HELP ", title, " ", Escape(family.help, open), "\n# TYPE ", title, " ", family.type, "\n");
    for (const Sample& sample : family.samples) {
      absl::StrAppend(&out, name, sample.suffix, Written(sample.labels), " ", Number(sample.value, false), "\n");
    }
  };
  for (const auto& [name, family] : families_) {
    if (!family.samples.empty()) write(name, family);
  }
  write("bailiwick_metrics_dropped_samples",
        {"gauge",
         "Samples of this scrape that were left out because their family has too many.",
         {{"", {}, static_cast<double>(dropped_)}}});
  if (open) out += "# EOF\n";
  return out;
}

std::string ContentType(Exposition::Format format) {
  return format == Exposition::Format::kOpenMetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                                    : "text/plain; version=0.0.4; charset=utf-8";
}

Exposition::Format Negotiate(std::string_view accept) {
  const double open = Weight(accept, "application/openmetrics-text", "application/*");
  return open > 0 && open > Weight(accept, "text/plain", "text/*") ? Exposition::Format::kOpenMetrics
                                                                   : Exposition::Format::kText;
}

void CollectFamilies(Exposition* out) {
  Families& known = Known();
  absl::MutexLock lock(&known.mutex);
  for (const Family* family : known.all) family->Collect(out);
}

template <typename Instrument>
FamilyOf<Instrument>::FamilyOf(std::string name, std::string help, std::vector<std::string> labels)
    : name_(std::move(name)), help_(std::move(help)), labels_(std::move(labels)) {
  Families& known = Known();
  absl::MutexLock lock(&known.mutex);
  known.all.insert(this);
}

template <typename Instrument>
FamilyOf<Instrument>::~FamilyOf() {
  Families& known = Known();
  absl::MutexLock lock(&known.mutex);
  known.all.erase(this);
}

template <typename Instrument>
Instrument& FamilyOf<Instrument>::With(std::vector<std::string> values) {
  values.resize(labels_.size());
  absl::MutexLock lock(&mutex_);
  auto at = series_.find(values);
  if (at == series_.end() && series_.size() >= kMaxSeries) {
    at = series_.try_emplace(std::vector<std::string>(labels_.size(), "other")).first;
  } else if (at == series_.end()) {
    at = series_.try_emplace(std::move(values)).first;
  }
  if (at->second == nullptr) at->second = std::make_unique<Instrument>();
  return *at->second;
}

template <typename Instrument>
void FamilyOf<Instrument>::Collect(Exposition* out) const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [values, instrument] : series_) {
    Labels labels;
    for (size_t i = 0; i < values.size(); ++i) labels.emplace_back(labels_[i], values[i]);
    if constexpr (std::is_same_v<Instrument, Counter>) {
      out->Count(name_, help_, std::move(labels), static_cast<double>(instrument->value()));
    } else if constexpr (std::is_same_v<Instrument, Value>) {
      out->Gauge(name_, help_, std::move(labels), instrument->value());
    } else {
      out->Distribution(name_, help_, std::move(labels), *instrument);
    }
  }
}

template class FamilyOf<Counter>;
template class FamilyOf<Value>;
template class FamilyOf<Histogram>;

}  // namespace bailiwick::telemetry
