// A linker of the driver's, with what must live as long as it does.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "image_cache.hpp"
#include "jit_options.hpp"

namespace tfusion::replay {

struct Link {
  explicit Link(const DriverFunctions& functions) : driver(functions) {}
  ~Link() {
    if (state != nullptr) driver.cuLinkDestroy(state);
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  const DriverFunctions& driver;
  CUlinkState state = nullptr;
  JitOptions options;  // the driver writes its logs here until the end
  std::vector<std::shared_ptr<const Image>> inputs;
  std::span<const std::byte> linked;  // the driver's own memory
};

}  // namespace tfusion::replay
