// What an auditor asks of audit logs: where a dataset has ever been, and who received what over a period (the record of
// processing of GDPR Art. 30 and its like). Pure functions over records.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "services/cli/core/audit_log.h"

namespace bailiwick::cli {

struct AuditMove {  // a version that came to a site
  absl::Time at;
  std::string dataset, from, to, from_region, to_region;  // sites and regions
  uint64_t number = 0;
  std::string rule, basis, purpose, classes;  // classes: the labels of the data then, a=1,b=2
  uint64_t logical_bytes = 0, wire_bytes = 0;
  std::string by;  // the record: SITE/SEQUENCE
};
struct AuditRemoval {
  absl::Time at;
  std::string dataset, site, what, receipt, by;  // receipt: empty where none is given (retention)
};
// Of all logs together. A move is told by the receiver's log; where that was not read, by the source's.
struct AuditHistory {
  std::map<std::string, std::set<std::string>> homes;  // sites that committed, by dataset
  std::vector<AuditMove> moves;                        // oldest first
  std::vector<AuditRemoval> removals;
};
AuditHistory HistoryOf(const std::vector<AuditRecord>& records);

// Totals of moves that have all but the bytes in common.
struct AuditTotal {
  AuditMove like;
  uint64_t moves = 0, logical_bytes = 0, wire_bytes = 0;
};
std::vector<AuditTotal> Totals(const std::vector<AuditMove>& moves);

// A printable page: a title, sentences, tables. Everything is escaped.
struct HtmlTable {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};
std::string HtmlPage(const std::string& title, const std::vector<std::string>& sentences,
                     const std::vector<HtmlTable>& tables);

}  // namespace bailiwick::cli
