// From a module image to PTX texts: NUL-terminated PTX, fatbin wrappers and headers, and our own linked
// images.
#pragma once

#include <string>
#include <vector>

#include "failure.hpp"

namespace tfusion::software::driver {

// The PTX that `image` holds for this GPU; more than one text only for a linked image. Throws Failure with a
// sentence: CUDA_ERROR_NO_BINARY_FOR_GPU for machine code, CUDA_ERROR_INVALID_IMAGE for what is none of
// these, CUDA_ERROR_INVALID_PTX or CUDA_ERROR_UNSUPPORTED_PTX_VERSION by the head of the PTX.
//
// cuda.h passes images without their size. Everything is checked against the sizes that the image itself
// names; whether that much memory is there is for the caller to know.
std::vector<std::string> ptx_of_image(const void* image);

// As above for an image whose size is known: a linker's input.
std::vector<std::string> ptx_of_image(const void* image, std::size_t bytes);

// The image that cuLinkComplete hands out.
std::vector<unsigned char> make_linked_image(const std::vector<std::string>& texts);

// Refuses PTX that was made for a newer GPU or language than this one, by its .version and .target
// directives. Texts whose head cannot be read are left to the compiler.
void require_suitable(const std::string& ptx);

}  // namespace tfusion::software::driver
