// policy check, policy test: what a law says wrongly or in vain, and whether it does what its tests say.
#include <algorithm>
#include <iostream>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/config/lint.h"
#include "common/config/policy_tests.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "services/cli/commands/new_file.h"
#include "services/cli/commands/policy_law.h"

namespace bailiwick::cli {
namespace {

constexpr char kJUnitBegins[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";

// What is not even YAML of ours: the lines of the refusal as findings.
std::vector<config::LintFinding> Refused(const absl::Status& status) {
  std::vector<config::LintFinding> out;
  for (absl::string_view line : absl::StrSplit(status.message(), '\n')) {
    config::LintFinding finding;
    finding.error = true;
    finding.code = "invalid";
    finding.text = std::string(line);
    out.push_back(std::move(finding));
  }
  return out;
}

absl::StatusOr<std::vector<config::LintFinding>> CheckFiles(const std::string& path, absl::Time now) {
  auto located = ReadResources({path});
  if (absl::IsInvalidArgument(located.status())) return Refused(located.status());
  if (!located.ok()) return located.status();
  config::Catalog catalog;
  for (const config::Located& one : *located) {
    catalog[{config::KindOf(one.resource), one.resource.metadata().name()}] = one.resource;
  }
  return config::Lint(catalog, *located, now, config::CompileTimeZones(config::ZonesOf(catalog), now));
}

absl::StatusOr<int> Check(const Globals& globals, const std::vector<std::string>& files) {
  const absl::Time now = os::Clock::System()->Now();
  std::vector<config::LintFinding> findings;
  for (const std::string& file : files) {
    BW_ASSIGN_OR_RETURN(std::vector<std::string> laws, LawsBelow(file));
    for (const std::string& law : laws) {
      BW_ASSIGN_OR_RETURN(std::vector<config::LintFinding> found, CheckFiles(law, now));
      findings.insert(findings.end(), found.begin(), found.end());
    }
  }
  if (files.empty()) {
    BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
    BW_ASSIGN_OR_RETURN(Law law, LawInForce(*admin));
    findings = config::Lint(law.catalog, {}, now, law.zones);
  }
  size_t errors = 0;
  std::vector<Json> rows;
  for (const config::LintFinding& f : findings) {
    errors += f.error;
    if (globals.table()) std::cout << FormatMessage(f.str()) << "\n";
    rows.push_back(Object({{"severity", Text(f.error ? "error" : "warning")},
                           {"code", Text(f.code)},
                           {"resource", Text(f.resource)},
                           {"path", Text(f.path)},
                           {"file", Text(f.at.file)},
                           {"line", Number(f.at.line)},
                           {"column", Number(f.at.column)},
                           {"message", Text(f.text)}}));
  }
  const size_t warnings = findings.size() - errors;
  if (globals.table()) {
    std::cout << errors << (errors == 1 ? " error, " : " errors, ") << warnings
              << (warnings == 1 ? " warning" : " warnings") << "\n";
  } else {
    PrintJson(globals.format(),
              {{"errors", Number(errors)}, {"warnings", Number(warnings)}, {"findings", List(std::move(rows))}});
  }
  const bool undeclared = std::any_of(findings.begin(), findings.end(), [](const config::LintFinding& f) {
    return f.error && absl::StrContains(f.text, "is not declared");
  });
  if (undeclared && !files.empty()) {
    std::cerr << "bailiwick: files are checked as a law of their own; for a change of the law in force run: bailiwick "
                 "policy diff FILE\n";
  }
  return errors == 0 ? 0 : 1;
}

struct Suite {
  std::string law, policy;
  std::vector<config::PolicyTestResult> results;
  std::vector<std::string> uncovered;  // rules that no case of any policy of this law exercises
  size_t rules = 0;
};

// All policies of one law with the tests that they carry.
absl::StatusOr<std::vector<Suite>> RunLaw(const Law& law, absl::Time now) {
  std::vector<Suite> suites;
  std::set<std::string> exercised;
  for (const auto& [key, resource] : law.catalog) {
    if (!resource.has_sovereignty_policy()) continue;
    Suite& suite = suites.emplace_back();
    suite.law = law.name;
    suite.policy = key.second;
    suite.results = config::RunTests(law.world, key.second, resource.sovereignty_policy(), now);
    for (const config::PolicyTestResult& result : suite.results)
      exercised.insert(result.rules.begin(), result.rules.end());
    suite.rules = resource.sovereignty_policy().rules_size();
  }
  for (Suite& suite : suites) {
    for (const auto& rule : law.catalog.at({"SovereigntyPolicy", suite.policy}).sovereignty_policy().rules()) {
      const std::string name = absl::StrCat(suite.policy, "/", rule.id());
      if (exercised.count(name) == 0) suite.uncovered.push_back(name);
    }
  }
  return suites;
}

std::string Xml(const std::string& text) {
  return absl::StrReplaceAll(FormatMessage(text),
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"\n", "&#10;"}});
}

std::string JUnit(const std::vector<Suite>& suites) {
  std::string out = kJUnitBegins;
  for (const Suite& suite : suites) {
    size_t failures = 0;
    for (const auto& result : suite.results) failures += !result.passed;
    absl::StrAppend(&out, "  <testsuite name=\"", Xml(suite.policy), "\" tests=\"", suite.results.size(),
                    "\" failures=\"", failures, "\">\n");
    for (const auto& result : suite.results) {
      absl::StrAppend(&out, "    <testcase classname=\"", Xml(suite.law), ".", Xml(suite.policy), "\" name=\"",
                      Xml(result.name), "\"");
      if (result.passed) {
        absl::StrAppend(&out, "/>\n");
      } else {
        absl::StrAppend(&out, ">\n      <failure message=\"", Xml(result.message), "\"/>\n    </testcase>\n");
      }
    }
    absl::StrAppend(&out, "  </testsuite>\n");
  }
  return out + "</testsuites>\n";
}

// Results are made again and again, so those of before give way; a file that holds anything else does not.
absl::Status WriteJUnit(const std::string& path, const std::string& results) {
  os::Files* files = os::Files::System();
  auto there = os::ReadFile(files, path);
  const bool ours = there.ok() && (there->empty() || absl::StartsWith(*there, kJUnitBegins));
  return ours ? os::WriteFileAtomically(files, path, results) : WriteNew(path, results);
}

Json SuiteJson(const Suite& suite) {
  std::vector<Json> tests, uncovered;
  for (const auto& result : suite.results) {
    tests.push_back(Object({{"name", Text(result.name)},
                            {"kind", Text(result.invariant ? "invariant" : "case")},
                            {"passed", Bool(result.passed)},
                            {"message", Text(result.message)}}));
  }
  for (const std::string& rule : suite.uncovered) uncovered.push_back(Text(rule));
  return Object({{"law", Text(suite.law)},
                 {"policy", Text(suite.policy)},
                 {"tests", List(std::move(tests))},
                 {"rules", Number(suite.rules)},
                 {"rulesWithoutCase", List(std::move(uncovered))}});
}

void PrintSuite(const Suite& suite, const Law& law) {
  std::cout << suite.law << ": " << suite.policy << "\n";
  for (const auto& result : suite.results) {
    std::cout << "  " << (result.passed ? "ok      " : "FAILED  ") << FormatMessage(result.name) << "\n";
    if (result.passed) continue;
    std::string where;
    for (const config::Located& one : law.located) {
      if (config::KindOf(one.resource) == "SovereigntyPolicy" && one.resource.metadata().name() == suite.policy) {
        where = one.At(result.path).str() + ": ";
      }
    }
    std::cout << "          " << FormatMessage(where + result.message) << "\n";
  }
  if (!suite.uncovered.empty()) {
    std::cout << "  " << suite.rules - suite.uncovered.size() << " of " << suite.rules
              << " rules exercised by a case; without: " << absl::StrJoin(suite.uncovered, ", ") << "\n";
  }
}

absl::StatusOr<int> Test(const Globals& globals, const std::vector<std::string>& paths, const std::string& junit) {
  const absl::Time now = os::Clock::System()->Now();
  std::vector<Law> laws;
  for (const std::string& path : paths) {
    BW_ASSIGN_OR_RETURN(std::vector<std::string> below, LawsBelow(path));
    for (const std::string& one : below) {
      BW_ASSIGN_OR_RETURN(Law law, LawOfFiles({one}, now));
      laws.push_back(std::move(law));
    }
  }
  if (paths.empty()) {
    BW_ASSIGN_OR_RETURN(Law law, LoadLaw(globals, {}, now));
    laws.push_back(std::move(law));
  }
  std::vector<Suite> all;
  std::vector<Json> rows;
  size_t tests = 0, failed = 0, rules = 0, uncovered = 0;
  for (const Law& law : laws) {
    BW_ASSIGN_OR_RETURN(std::vector<Suite> suites, RunLaw(law, now));
    for (Suite& suite : suites) {
      for (const auto& result : suite.results) failed += !result.passed;
      tests += suite.results.size();
      rules += suite.rules;
      uncovered += suite.uncovered.size();
      if (globals.table()) PrintSuite(suite, law);
      rows.push_back(SuiteJson(suite));
      all.push_back(std::move(suite));
    }
  }
  if (!junit.empty()) BW_RETURN_IF_ERROR(WriteJUnit(junit, JUnit(all)));
  if (globals.table()) {
    std::cout << tests - failed << " of " << tests << " tests passed; " << rules - uncovered << " of " << rules
              << " rules exercised by a case\n";
  } else {
    PrintJson(globals.format(), {{"tests", Number(tests)},
                                 {"failed", Number(failed)},
                                 {"rules", Number(rules)},
                                 {"rulesWithoutCase", Number(uncovered)},
                                 {"policies", List(std::move(rows))}});
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void RegisterPolicyCheck(CLI::App& policy, Globals& globals) {
  {
    auto* c = policy.add_subcommand("check", "what a law says wrongly or in vain");
    auto files = std::make_shared<std::vector<std::string>>();
    c->add_option("FILE,-f,--file", *files,
                  "file or directory, checked as a whole law; a directory of directories is several")
        ->type_name("PATH");
    c->footer(
        "Errors: what apply refuses, tests that fail, sets that have expired. Warnings: rules that can never apply or\n"
        "never decide, sets that expire within 30 days, are unused or were not reviewed for a year, sites and "
        "datasets\n"
        "that no rule serves. Exit code 0: no error, warnings or not; 1: errors.\nExamples:\n"
        "  bailiwick policy check -f policies/\n  bailiwick policy check -o json");
    OnRunCode(c, globals, [&globals, files] { return Check(globals, *files); });
  }
  {
    auto* c = policy.add_subcommand("test", "run the tests that policies carry: cases and invariants");
    auto paths = std::make_shared<std::vector<std::string>>();
    auto junit = std::make_shared<std::string>();
    c->add_option("PATH", *paths,
                  "file or directory; a directory of directories is several laws. None: the law in force");
    c->add_option("--junit", *junit, "also write the results as JUnit XML to this file; those of before are replaced")
        ->type_name("PATH");
    c->footer(
        "Exit code 0: all passed; 1: some failed.\nExamples:\n  bailiwick policy test policies/\n"
        "  bailiwick policy test policies/ --junit results.xml -o json");
    OnRunCode(c, globals, [&globals, paths, junit] { return Test(globals, *paths, *junit); });
  }
}

}  // namespace bailiwick::cli
