// Resources that a person wrote. What is understood is written again and read back as the same; the whole is validated.
#include "common/config/yaml.h"

#include <google/protobuf/util/message_differencer.h>

#include "common/config/lint.h"
#include "common/config/world.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/law.h"

FUZZ_TARGET(yaml) {
  using namespace bailiwick;
  const std::string_view text = in.Rest();
  auto resources = config::ParseYaml(text, "fuzz.yaml");
  if (!resources.ok()) {
    REQUIRE(!resources.status().message().empty());
    return;
  }
  config::Catalog catalog;
  for (const config::Located& located : *resources) {
    const std::string written = config::ToYaml(located.resource);
    auto again = config::ParseYaml(written, "again.yaml");
    REQUIRE(again.ok() && again->size() == 1);
    REQUIRE(google::protobuf::util::MessageDifferencer::Equals(again->front().resource, located.resource));
    REQUIRE(config::ToYaml(again->front().resource) == written);
    config::ToJson(located.resource);
    catalog[{config::KindOf(located.resource), located.resource.metadata().name()}] = located.resource;
  }
  auto world = config::BuildWorld(catalog);
  if (config::Validate(catalog, *resources, fuzz::Now(), {}).ok()) REQUIRE(world.ok());
}
