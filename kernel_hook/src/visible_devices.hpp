// CUDA_VISIBLE_DEVICES for the one device that a slice has.
#pragma once

namespace tfusion::hook {

// False for CUDA_VISIBLE_DEVICES="", "-1", or a list that does not begin with 0 or this slice's UUID (or a
// prefix).
bool device_is_visible();

// The device's 16-byte UUID: derived from the slice's id, so that two slices never share one and every
// process of a slice, and NVML, see the same.
const unsigned char* device_uuid();

}  // namespace tfusion::hook
