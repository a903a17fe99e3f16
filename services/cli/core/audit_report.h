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

struct AuditMove {  // a version that came to a site, or a part of it
  absl::Time at;
  std::string dataset, transfer, from, to, from_region, to_region;  // sites and regions
  uint64_t number = 0;
  std::string rule, basis, purpose, classes;  // classes: the labels of the data then, a=1,b=2
  uint64_t logical_bytes = 0, wire_bytes = 0;
  std::string by;      // the record: SITE/SEQUENCE
  std::string result;  // received; had it already; interrupted: CODE
  bool whole() const { return result == "received"; }
};
// Two ends that do not say the same of one transfer.
struct AuditContradiction {
  absl::Time at;
  std::string dataset, transfer, what, by;
};
struct AuditRemoval {
  absl::Time at;
  std::string dataset, site, what, receipt, by;  // receipt: empty where none is given (retention)
};
// Of all logs together. What both ends say of a transfer is one move, told by the receiver's record where there is one;
// what only one end says is a move as well, and a contradiction if the log of the other was read. Of attempts that were
// interrupted those of the end that counts more bytes are told.
struct AuditHistory {
  std::map<std::string, std::set<std::string>> homes;  // sites that committed, by dataset
  std::vector<AuditMove> moves;                        // oldest first
  std::vector<AuditRemoval> removals;
  std::vector<AuditContradiction> contradictions;
};
AuditHistory HistoryOf(const std::vector<AuditRecord>& records);

// Totals of moves that have all but bytes and result in common. Bytes that were sent are those of all attempts,
// versions and their size those of whole ones.
struct AuditTotal {
  AuditMove like;
  uint64_t moves = 0, interrupted = 0, logical_bytes = 0, wire_bytes = 0;
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
