// Texture and surface objects of this driver: what cuTexObjectCreate and cuSurfObjectCreate made. What
// kernels see of them is in Driver::textures.
#pragma once

#include "../texture_table.hpp"
#include "handles.hpp"

namespace tfusion::software::driver {

// Its end takes the object out of Driver::textures, between two kernels.
class Texture final : public Object {
 public:
  static constexpr Kind kKind = Kind::texture;

  ~Texture() override;

  std::uint64_t value = 0;  // the CUtexObject or CUsurfObject
  bool surface = false;
  CUDA_RESOURCE_DESC resource{};
  CUDA_TEXTURE_DESC sampling{};
};

}  // namespace tfusion::software::driver
