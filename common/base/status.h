// Helpers around absl::Status: early return, added context, and the exit code that a status means to a person.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace bailiwick {

// The same code with "context: " in front of the message. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// The error that errno describes: ENOENT NOT_FOUND, EEXIST ALREADY_EXISTS, EACCES/EPERM/EROFS UNKNOWN, ENOSPC/EDQUOT
// RESOURCE_EXHAUSTED, others INTERNAL (EIO: DATA_LOSS).
absl::Status ErrnoStatus(int error, std::string_view context);
// Whether it is the file system that keeps us out. Never PERMISSION_DENIED: no law forbids anything, no person lacks a
// role.
bool IsKeptOut(const absl::Status& status);

// Documented exit codes: 0 ok, 1 failed, 2 usage (INVALID_ARGUMENT), 3 denied by policy (PERMISSION_DENIED), 4 not found,
// 5 conflict (ABORTED, ALREADY_EXISTS, FAILED_PRECONDITION), 6 unavailable or timed out.
int ExitCode(const absl::Status& status);

}  // namespace bailiwick

#define BW_CONCAT_INNER(a, b) a##b
#define BW_CONCAT(a, b) BW_CONCAT_INNER(a, b)
#define BW_RETURN_IF_ERROR(expr)                                   \
  do {                                                             \
    if (absl::Status bw_status = (expr); !bw_status.ok()) return bw_status; \
  } while (false)
#define BW_ASSIGN_OR_RETURN(lhs, expr) BW_ASSIGN_OR_RETURN_IMPL(BW_CONCAT(bw_or_, __LINE__), lhs, expr)
#define BW_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return tmp.status();            \
  lhs = std::move(tmp).value()
