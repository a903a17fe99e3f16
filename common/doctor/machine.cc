#include "common/doctor/machine.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bailiwick::doctor {
namespace {

constexpr uint64_t kLowPercent = 5;  // of a disk: time to think of more

// ok, a warning below `few`, a failure below `too_few`.
void Judge(Report& report, const std::string& check, uint64_t n, const std::string& found, uint64_t few,
           uint64_t too_few, const std::string& remedy) {
  if (n >= few) return report.Ok(check, found);
  if (n >= too_few) return report.Warn(check, found, remedy);
  report.Fail(check, found, remedy);
}

}  // namespace

void JudgeSpace(Report& report, const std::string& directory, const os::Space& space, const std::string& of,
                uint64_t reserve) {
  const std::string disk = "disk" + of, inodes = "inodes" + of;
  const std::string found =
      absl::StrCat(FormatBytes(space.free_bytes), " of ", FormatBytes(space.total_bytes), " free under ", directory);
  const uint64_t little = std::clamp(space.total_bytes / 10, kSmallDiskReserve, kDiskReserve);
  if (space.free_bytes < std::max(reserve, little)) {
    const std::string what =
        reserve > little
            ? absl::StrCat(
                  "commits and transfers have stopped, since no more than the reserve is "
                  "left: free more than ",
                  FormatBytes(reserve), ", lower diskReserve")
            : absl::StrCat("commits and transfers stop when the disk is full: free at least ", FormatBytes(little));
    report.Fail(disk, found, absl::StrCat(what, ", shorten retention, or give it a larger disk"));
  } else if (space.free_bytes < space.total_bytes / 100 * kLowPercent) {
    report.Warn(disk, found, "less than a twentieth is free: shorten retention or give it a larger disk");
  } else {
    report.Ok(disk, found);
  }
  if (space.total_inodes == 0) return report.Ok(inodes, "made as they are needed");
  Judge(report, inodes, space.free_inodes, absl::StrCat(space.free_inodes, " of ", space.total_inodes, " free"),
        kInodeReserve, 1000,
        "files laid out take one each: remove files, or make the file system anew with more inodes (mkfs.ext4 -i)");
}

void JudgeOpenFiles(Report& report, uint64_t limit) {
  Judge(report, "open files", limit, limit == os::kNoLimit ? "no limit" : absl::StrCat("at most ", limit), kFewFiles,
        kTooFewFiles, "raise LimitNOFILE= of the unit, or ulimit -Hn of who starts it, to 65536");
}

void JudgeProcesses(Report& report, uint64_t limit) {
  Judge(report, "processes", limit,
        limit == os::kNoLimit ? "no limit" : absl::StrCat("at most ", limit, " threads and processes"), kFewPids,
        kTooFewPids, "raise TasksMax= of the unit, or the pids limit of the container, to 4096");
}

void JudgeMemory(Report& report, uint64_t bytes) {
  Judge(report, "memory", bytes, bytes == os::kNoLimit ? "no limit" : absl::StrCat("at most ", FormatBytes(bytes)),
        kLittleMemory, kTooLittleMemory,
        "raise MemoryMax= of the unit, or the memory limit of the container, to 1 GiB");
}

void JudgeWatches(Report& report, uint64_t watches, uint64_t instances) {
  const std::string found = absl::StrCat(watches, " watches, ", instances, " instances a user");
  if (watches >= kFewWatches && instances >= kFewInstances) return report.Ok("inotify", found);
  report.Warn("inotify", found,
              "a source with more directories than watches is scanned at each commit: sysctl -w "
              "fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=128 (in a user namespace also "
              "user.max_inotify_watches, user.max_inotify_instances)");
}

void CheckDisk(Report& report, const std::string& directory, const std::string& of, uint64_t reserve) {
  const std::string file_system = "file system" + of;
  auto space = os::SpaceOf(directory);
  if (!space.ok()) {
    return report.Fail("disk" + of, std::string(space.status().message()), "create the directory, or correct its name");
  }
  JudgeSpace(report, directory, *space, of, reserve);
  auto fs = os::FileSystemOf(directory);
  const std::string type = fs.ok() ? fs->type : "unknown";
  const os::Abilities can = os::TryDirectory(directory);
  for (const absl::Status& one : {can.write, can.sync, can.rename}) {
    if (one.ok()) continue;
    return report.Fail(
        file_system, absl::StrCat(type, ": ", std::string(one.message())),
        "it has to be writable for who runs this, with rename and fsync: use a local ext4, XFS or Btrfs");
  }
  if (fs.ok() && fs->network) {
    report.Warn(file_system, absl::StrCat(type, ", which lies on another machine"),
                "locks and fsync over a network are promises of others: use a local disk");
  } else if (!can.hard_link.ok()) {
    report.Warn(file_system, absl::StrCat(type, " without hard links"),
                "laid-out versions then share no files: use ext4, XFS or Btrfs to save space");
  } else {
    report.Ok(file_system, absl::StrCat(type, ": writes, fsync, rename and hard links work"));
  }
  report.Ok("reflink" + of, can.reflink ? "yes: copies of files share their blocks" : "no: copies of files are copied");
}

void CheckLimits(Report& report, pid_t pid) {
  if (auto files = os::OpenFilesLimit(pid); files.ok()) {
    JudgeOpenFiles(report, *files);
  } else {
    report.Warn("open files", std::string(files.status().message()), "run this as the same user or as root");
  }
  JudgeProcesses(report, os::GroupLimit(pid, "pids.max"));
  const uint64_t group = os::GroupLimit(pid, "memory.max"), machine = os::MachineMemory();
  JudgeMemory(report, machine == 0 ? group : std::min(group, machine));
}

void CheckWatches(Report& report) {
  // Those of the user namespace bound those of the kernel.
  const auto least = [](const char* kernel, const char* space) {
    return std::min(os::KernelSetting(kernel).value_or(0), os::KernelSetting(space).value_or(os::kNoLimit));
  };
  JudgeWatches(report, least("fs.inotify.max_user_watches", "user.max_inotify_watches"),
               least("fs.inotify.max_user_instances", "user.max_inotify_instances"));
}

void CheckClockSource(Report& report) {
  const auto kept = os::ClockIsKept();
  if (!kept.has_value()) return report.Ok("time source", "the kernel does not say");
  if (*kept) return report.Ok("time source", "the kernel's clock is synchronized");
  report.Warn("time source", "nothing keeps the kernel's clock right",
              "run chrony or systemd-timesyncd; in a container, on its host");
}

void CheckOwners(Report& report, const std::vector<std::string>& paths) {
  std::optional<os::Owner> first;
  for (const std::string& path : paths) {
    auto owner = os::OwnerOf(path);
    if (absl::IsNotFound(owner.status())) continue;
    if (!owner.ok()) {
      return report.Fail("owner", std::string(owner.status().message()), "run this as the same user or as root");
    }
    if (!first.has_value()) first = *owner;
    if (owner->uid != first->uid) {
      return report.Fail(
          "owner",
          absl::StrCat(path, " belongs to ", os::UserName(owner->uid), ", the rest to ", os::UserName(first->uid)),
          absl::StrCat("chown -R ", os::UserName(first->uid), " ", paths.front()));
    }
    if ((owner->mode & 022) != 0) {
      return report.Fail("owner", absl::StrCat(path, " can be written by others than ", os::UserName(owner->uid)),
                         absl::StrCat("chmod go-w ", path));
    }
  }
  if (first.has_value()) report.Ok("owner", absl::StrCat("all belongs to ", os::UserName(first->uid), " alone"));
}

void CheckKeyFile(Report& report, const std::string& name, const std::string& path, bool optional) {
  auto owner = os::OwnerOf(path);
  const std::string check = absl::StrCat("key ", name);
  if (absl::IsNotFound(owner.status()) && optional) return;
  if (!owner.ok())
    return report.Fail(check, std::string(owner.status().message()), "bring it back from where it is kept");
  if ((owner->mode & 077) != 0) {
    return report.Fail(check, absl::StrCat(path, " can be read by others than ", os::UserName(owner->uid)),
                       absl::StrCat("chmod 600 ", path, "; if others were on this machine, have a new one made"));
  }
  report.Ok(check, absl::StrCat("readable by ", os::UserName(owner->uid), " alone"));
}

}  // namespace bailiwick::doctor
