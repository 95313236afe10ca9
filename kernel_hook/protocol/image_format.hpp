// How large a module image is by its own word. The driver's API passes images without a size, so the hook
// must find the end to send one, and the worker must know that an image from a client does not claim more
// than it has before the driver follows its headers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tfusion::protocol {

// The bytes of a bare fatbin (header and payload), an ELF cubin, or text with its NUL that begins at `image`,
// looking at no more than `available` bytes. 0 for what is none of these, or would reach further.
std::uint64_t image_bytes(const std::byte* image, std::uint64_t available);

// The fatbin behind a wrapper as compilers emit it, or `image` itself if it is no wrapper. nullptr for a
// wrapper of nothing.
const std::byte* unwrap_fatbin(const std::byte* image);

}  // namespace tfusion::protocol
