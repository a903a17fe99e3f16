#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/rpc/codec.h"
#include "services/agent/transfer/flow.h"
#include "services/agent/transfer/flow_metrics.h"

namespace bailiwick::agent {

using transfer::v1::Frame;

template <typename Piece>
absl::StatusOr<std::vector<ReceiveMachine::Have>> Flow::Presence(const std::vector<Piece>& pieces) {
  std::vector<Digest> digests;
  digests.reserve(pieces.size());
  for (const auto& piece : pieces) digests.push_back(piece.digest);
  BW_ASSIGN_OR_RETURN(std::vector<bool> here, dataset_->store->HasMany(digests));
  const bool in_doubt = InDoubt();
  std::vector<ReceiveMachine::Have> have(pieces.size(), ReceiveMachine::Have::kMissing);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!pieces[i].is_node && dataset_->redactions->HasChunk(pieces[i].digest)) {
      have[i] = ReceiveMachine::Have::kComplete;  // by an order that was verified here, never by the source's word
      continue;
    }
    if (!here[i]) continue;
    have[i] = ReceiveMachine::Have::kHere;
    if (!pieces[i].is_node || in_doubt) continue;
    BW_ASSIGN_OR_RETURN(bool complete, dataset_->catalog->IsComplete(dataset_->id, pieces[i].digest));
    if (complete) have[i] = ReceiveMachine::Have::kComplete;
  }
  return have;
}

bool Flow::InDoubt() const {
  return !dataset_->dropped->empty() || dataset_->damage->any() ||
         !dataset_->damage->Accounts(dataset_->store->losses());
}

End Flow::LoadNodes(ReceiveMachine& machine) {
  while (auto ref = machine.NextLoad()) {
    if (End end = WindowNowAndThen(); !end.complete()) return end;
    auto load = [&]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(std::shared_ptr<const store::Node> node, dataset_->nodes->Load(ref->digest));
      BW_ASSIGN_OR_RETURN(std::vector<ReceiveMachine::Have> have, Presence(node->Children()));
      return machine.Loaded(*ref, *node, have);
    };
    absl::Status loaded = load();
    if (absl::IsInvalidArgument(loaded)) return {"CORRUPT", std::string(loaded.message()), ""};
    if (!loaded.ok()) return Broken(loaded);
    done_bytes_ = machine.done_bytes();
    Report(TransferUpdate::State::kRunning, End{}, false);  // of a version that is here for the most part
  }
  return End{};
}

// What other flows of the version have brought since its nodes were looked into.
absl::Status Flow::LookAgain(ReceiveMachine& machine) {
  for (;;) {
    const std::vector<ReceiveMachine::Expected> ahead = machine.Ahead();
    if (ahead.empty()) return absl::OkStatus();
    BW_ASSIGN_OR_RETURN(std::vector<ReceiveMachine::Have> have, Presence(ahead));
    machine.Found(have);
    if (std::count(have.begin(), have.end(), ReceiveMachine::Have::kMissing) > 0) return absl::OkStatus();
  }
}

absl::Status Flow::FillWants(ReceiveMachine& machine, const Receiving::Part& part) {
  for (;;) {
    if (part.shared()) BW_RETURN_IF_ERROR(LookAgain(machine));
    const std::optional<ReceiveMachine::Want> want = machine.NextWant();
    if (!want) return absl::OkStatus();
    Frame frame;
    auto* message = frame.mutable_want();
    message->set_want_id(want->id);
    message->set_fetch_root(want->fetch_root);
    for (uint32_t index : want->path) message->add_node_path(index);
    if (!want->fetch_root) {
      for (const auto& piece : want->pieces) {
        const int n = message->spans_size();
        if (n > 0 && message->spans(n - 1).first() + message->spans(n - 1).count() == piece.child) {
          message->mutable_spans(n - 1)->set_count(message->spans(n - 1).count() + 1);
        } else {
          auto* span = message->add_spans();
          span->set_first(piece.child);
          span->set_count(1);
        }
      }
    }
    if (!stream_->WriteNow(EncodeFrame(frame))) return absl::UnavailableError("the connection to the peer broke");
  }
}

End Flow::TakeData(const InFrame& in, ReceiveMachine& machine, store::DatasetStore::Writer& writer) {
  const auto& data = in.message.data();
  const auto count = static_cast<size_t>(data.pieces_size());
  PayloadReader payload(in);
  std::vector<Digest> expected;
  std::vector<store::ChunkParts> chunks;
  std::vector<std::string_view> parts;  // of all chunks, one behind the other
  std::vector<size_t> parts_end;        // of each
  std::vector<bool> there;              // of each piece
  expected.reserve(count);
  chunks.reserve(count);
  parts_end.reserve(count);
  there.reserve(count);
  End end;
  for (size_t i = 0; i < count && end.complete(); ++i) {
    const auto& piece = data.pieces(static_cast<int>(i));
    auto next = machine.Next(data.want_id(), i);
    if (!next.ok()) {
      end = Broken(next.status());
    } else if (piece.absent()) {  // what else is to be had comes all the same
      if (lacking_count_++ == 0) lacking_ = next->digest;
      there.push_back(false);
    } else if (next->is_node ? piece.raw_length() > store::kMaxNodeBytes : piece.raw_length() != next->length) {
      end = {"CORRUPT", absl::StrCat("chunk ", next->digest.ShortHex(), " has another length than its manifest says"),
             ""};
    } else if (piece.codec() > 1) {
      end = {"CORRUPT", absl::StrCat("unknown codec ", piece.codec()), ""};
    } else if (piece.codec() != 0 && piece.stored_length() >= piece.raw_length()) {
      end = {"CORRUPT", absl::StrCat("chunk ", next->digest.ShortHex(), " is no smaller compressed"), ""};
    } else {
      payload.Take(piece.stored_length(), &parts);
      parts_end.push_back(parts.size());
      expected.push_back(next->digest);
      chunks.push_back(
          {.codec = static_cast<store::Codec>(piece.codec()), .raw_length = piece.raw_length(), .parts = {}});
      there.push_back(true);
    }
  }
  for (size_t i = 0, begin = 0; i < chunks.size(); begin = parts_end[i++]) {
    chunks[i].parts = std::span(parts).subspan(begin, parts_end[i] - begin);
  }
  const std::vector<absl::Status> genuine = store::VerifyEach(chunks, expected);
  size_t i = 0;  // of the chunks
  for (const bool is_there : there) {
    if (!is_there) {
      machine.Absent(data.want_id());
      continue;
    }
    if (!genuine[i].ok()) return {"CORRUPT", std::string(genuine[i].message()), ""};
    if (!dataset_->redactions->HasChunk(expected[i])) {  // else ordered since it was asked for
      // The machine asked for it because the store lacked it.
      if (absl::Status put = writer.PutMissing(expected[i], chunks[i]); !put.ok()) return Broken(put);
    }
    machine.Stored(data.want_id());
    ++i;
  }
  if (!end.complete()) return end;
  wire_bytes_ += in.payload_size;
  CountFlowBytes(record_.dataset, PeerSite(), receive_, in.payload_size);
  return End{};
}

// The version is here: what counts is the shortest way by which it came, as far as that can be verified now.
absl::Status Flow::KeepShorterTrail() {
  const rpc::Chain offered = guard_.chain().value_or(rpc::Chain{});
  if (offered.empty()) return absl::OkStatus();
  BW_ASSIGN_OR_RETURN(const rpc::Chain kept, dataset_->catalog->Provenance(record_.dataset_id, record_.number));
  if (!kept.empty() && kept.size() <= offered.size() && guard_.Leads(kept)) return absl::OkStatus();
  return dataset_->catalog->PutProvenance(record_.dataset_id, record_.number, offered);
}

std::optional<End> Flow::AlreadyHere() {
  auto held = dataset_->catalog->Find(record_.dataset_id, record_.number);
  if (!held.ok()) return Broken(held.status());
  if (!held->has_value()) return std::nullopt;
  if ((*held)->identity != identity_) {
    return End{"CORRUPT", absl::StrCat("version ", record_.number, " is here already with another identity; refused"),
               ""};
  }
  if (Healing()) return std::nullopt;
  if (absl::Status kept = KeepShorterTrail(); !kept.ok()) return Broken(kept);
  env_.received(*dataset_);  // whoever ordered it does not know that it came another way
  return End{};
}

End Flow::Fetch(const Receiving::Part& part, store::DatasetStore::Writer& writer) {
  ReceiveMachine machine(record_.manifest_root, part.backwards());
  auto root_here = dataset_->store->Has(record_.manifest_root);
  if (!root_here.ok()) return Broken(root_here.status());
  auto root_complete = dataset_->catalog->IsComplete(dataset_->id, record_.manifest_root);
  if (!root_complete.ok()) return Broken(root_complete.status());
  machine.Begin(*root_here
                    ? (*root_complete && !InDoubt() ? ReceiveMachine::Have::kComplete : ReceiveMachine::Have::kHere)
                    : ReceiveMachine::Have::kMissing);
  End end;
  while (end.complete() && !machine.finished()) {
    if (end = LoadNodes(machine); !end.complete()) break;
    if (absl::Status filled = FillWants(machine, part); !filled.ok()) {
      end = Broken(filled);
      break;
    }
    done_bytes_ = machine.done_bytes();
    Report(TransferUpdate::State::kRunning, End{}, false);
    if (machine.finished()) break;
    if (machine.idle()) continue;
    InFrame in;
    hindrance_.Is(Hindrance::kLink);
    if (!ReadFrame(&in, &end)) break;
    hindrance_.Is(Hindrance::kWork);
    bool taken = false;
    end = TakeUpdate(in.message, &taken);
    if (!end.complete() || taken) continue;
    if (in.message.has_data()) {
      end = Window();
      if (end.complete()) end = TakeData(in, machine, writer);
    } else {
      end = {"BAD_REQUEST", "a source sends data", ""};
    }
  }
  done_bytes_ = machine.done_bytes();
  // What arrived is kept whatever happened: the next attempt does not ask for it again.
  absl::Status flushed = writer.Flush();
  if (!end.complete()) {
    if (machine.finished() && end.message.empty()) end.message = "ended early";
    return end;
  }
  if (!flushed.ok()) return Broken(flushed);
  if (lacking_count_ == 0) return End{};
  return {"CORRUPT",
          absl::StrCat("the source no longer has chunk ", lacking_.ShortHex(),
                       lacking_count_ == 1 ? "" : absl::StrCat(", nor ", lacking_count_ - 1, " others")),
          ""};
}

End Flow::Receive() {
  if (std::optional<End> here = AlreadyHere()) return *here;
  std::unique_ptr<store::DatasetStore::Writer> writer = dataset_->store->NewWriter();
  const Receiving::Part part(dataset_->receiving.get(), record_.number);
  uint64_t losses = dataset_->store->losses();
  if (!dataset_->damage->Accounts(losses)) env_.lacks(*dataset_, record_.number);
  End end = Fetch(part, *writer);
  // What was counted as here may have turned out damaged meanwhile.
  while (end.complete() && dataset_->store->losses() != losses) {
    losses = dataset_->store->losses();
    end = Fetch(part, *writer);
  }
  if (!end.complete()) return end;
  end = Window();  // the version becomes visible only with a permit at the current revision
  if (!end.complete()) return end;
  if (std::optional<End> here = AlreadyHere()) return *here;  // by a flow from another source
  if (absl::Status audited = Audit("version-received", End{}); !audited.ok()) return Broken(audited);
  auto held = dataset_->catalog->Find(record_.dataset_id, record_.number);
  if (!held.ok()) return Broken(held.status());
  if (!held->has_value()) {  // else it was damaged, and is whole now
    absl::Status added =
        dataset_->catalog->Add(record_envelope_, dataset_->nodes.get(), guard_.chain().value_or(rpc::Chain{}));
    if (!added.ok()) return Broken(added);
  }
  if (dataset_->store->losses() != losses) env_.lacks(*dataset_, record_.number);
  Report(TransferUpdate::State::kRunning, End{}, true);  // its byte counts, before the news that ends it
  env_.received(*dataset_);
  return End{};
}

}  // namespace bailiwick::agent
