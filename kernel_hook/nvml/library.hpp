// Whether the library is in use, and the handle of its one device. Every exported function asks here first.
#pragma once

#include "abi.hpp"

namespace tfusion::nvml {

// The handle of device 0, the only one.
Device the_device();

// kUninitialized before nvmlInit and after the last nvmlShutdown.
Result enter();

// The same, and kInvalidArgument for anything but the device's handle.
Result enter(Device device);

// What the generated stubs of refused functions return.
Result refuse();

// Copies a text with its NUL: kInvalidArgument without a buffer, kInsufficientSize (nothing written) if it is
// short.
Result give_text(const char* text, char* buffer, unsigned bytes);

}  // namespace tfusion::nvml
