// Where text from device-side printf goes: see tfusionSoftwareSetPrint in cuda_api.hpp.
#pragma once

#include <string_view>

namespace tfusion::software::driver {

void print_from_device(std::string_view text) noexcept;

}  // namespace tfusion::software::driver
