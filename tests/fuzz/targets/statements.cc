// What agents sign for each other and for the coordinator: receipts, hops, storage, bindings; and orders to redact.
#include "bailiwick/transfer/v1/transfer.pb.h"
#include "common/rpc/codec.h"
#include "common/rpc/provenance.h"
#include "common/rpc/receipt.h"
#include "common/rpc/redaction.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(statements) {
  using namespace bailiwick;
  const policy::World& world = fuzz::TheWorld();
  const uint8_t kind = in.Byte() % 6;
  if (kind == 0) {
    auto receipt = rpc::OpenReceipt(fuzz::Signed(crypto::kReceiptType, in.Rest()), world);
    if (!receipt.ok()) return;
    auto again = rpc::OpenReceipt(fuzz::Signed(crypto::kReceiptType, rpc::EncodeReceipt(*receipt)), world);
    REQUIRE(again.ok() && again->erased_at == receipt->erased_at && again->versions == receipt->versions);
  } else if (kind == 1) {
    auto order = rpc::OpenRedaction(fuzz::Signed(crypto::kRedactionType, in.Rest()), world);
    if (!order.ok()) return;
    auto again = rpc::OpenRedaction(fuzz::Signed(crypto::kRedactionType, rpc::EncodeRedaction(*order)), world);
    REQUIRE(again.ok() && again->contents == order->contents && again->issued_at == order->issued_at);
  } else if (kind == 2) {
    rpc::ChainOf of{.version = *Digest::From(1, std::string(32, 'v')), .begins = {"home"}, .holder = "far"};
    std::memcpy(of.dataset_id.bytes.data(), "0123456789abcdef", 16);
    rpc::Chain chain;
    while (!in.done() && chain.size() < 4) chain.push_back(fuzz::Signed(crypto::kHopType, in.Chunk()));
    auto hops = rpc::OpenChain(chain, of, world);
    if (hops.ok()) REQUIRE(hops->size() == chain.size() && hops->back().destination_region == "eu/far");
    if (hops.ok()) policy::CarriedLimit(world, {}, "home", rpc::HopsOf(*hops)).IgnoreError();
  } else if (kind == 3) {
    auto envelope = fuzz::Signed(crypto::kStorageType, in.Rest());
    auto storage = rpc::OpenStorage(envelope, fuzz::UriOf("far"), DatasetId(), "grant", world);
    if (storage.ok()) REQUIRE(storage->wrapping_key.empty() || storage->wrapping_public_key.size() == 32);
  } else if (kind == 4) {
    auto envelope = fuzz::Signed(crypto::kBindingType, in.Rest());
    if (rpc::CheckBinding(envelope, fuzz::UriOf("far"), std::string(32, 'c'), world).ok()) {
      REQUIRE(!rpc::CheckBinding(envelope, fuzz::UriOf("home"), std::string(32, 'c'), world).ok());
      REQUIRE(!rpc::CheckBinding(envelope, fuzz::UriOf("far"), std::string(32, 'd'), world).ok());
    }
  } else {
    // As it comes off the wire: nobody signed it, so nothing of it counts.
    transfer::v1::Hello hello;
    const std::string_view bytes = in.Rest();
    if (!hello.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    const auto bindings = rpc::BindingsOf(hello);
    REQUIRE(bindings.size() <= rpc::kMaxBindings);
    REQUIRE(!rpc::CheckBindings(bindings, fuzz::UriOf("far"), std::string(32, 'c'), world).ok());
    rpc::OpenGrant(rpc::FromProto(hello.grant()), world).IgnoreError();
  }
}
