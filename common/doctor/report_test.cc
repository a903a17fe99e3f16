#include "common/doctor/report.h"

#include <gtest/gtest.h>

namespace bailiwick::doctor {
namespace {

TEST(ReportTest, TheCodeSaysWhatKindOfFailure) {
  Report report;
  report.Ok("a", "fine");
  report.Warn("b", "soon", "do it");
  EXPECT_EQ(report.ExitCode(), 0);
  report.OutOfReach("c", "refused", "start it");
  EXPECT_EQ(report.ExitCode(), 6);
  report.Fail("d", "broken", "mend it");
  EXPECT_EQ(report.ExitCode(), 1);
}

TEST(ReportTest, WhatToDoStandsUnderWhatWasFound) {
  Report report;
  report.Ok("disk", "much");
  report.Fail("key tls", "readable\nby all", "chmod 600 key.pem");
  EXPECT_EQ(report.ToTable(),
            "RESULT  CHECK    FOUND\n"
            "ok      disk     much\n"
            "fail    key tls  readable\\nby all\n"
            "        -> chmod 600 key.pem\n"
            "1 check fails; 1 of 2 are ok\n");
  report.Warn("clock", "slow", "set it");
  EXPECT_EQ(output::FormatLine(report.ToFields()).substr(0, 55),
            "{\"version\": 1, \"ok\": false, \"failed\": 1, \"warnings\": 1,");
}

}  // namespace
}  // namespace bailiwick::doctor
