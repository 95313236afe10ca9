// The shape of arrays: sizes of texels, levels, and which boxes lie inside. Both sides believe this.
#include "protocol/array_shape.hpp"

#include <cstdint>
#include <limits>
#include <random>

#include "check.hpp"

using namespace tfusion::protocol;

namespace {

constexpr std::uint32_t kFloat = 0x20, kHalf = 0x10, kByte = 0x01;

ArrayShape shape(std::uint64_t width, std::uint64_t height, std::uint64_t depth, std::uint32_t flags = 0) {
  return {width, height, depth, kFloat, 1, flags};
}

}  // namespace

TEST(texels_have_the_size_of_their_channels) {
  CHECK_EQ(texel_bytes(kByte, 1), 1u);
  CHECK_EQ(texel_bytes(kByte, 4), 4u);
  CHECK_EQ(texel_bytes(kHalf, 2), 4u);
  CHECK_EQ(texel_bytes(kFloat, 4), 16u);
  for (const std::uint32_t channels : {0u, 3u, 5u, 8u, ~0u}) CHECK_EQ(texel_bytes(kFloat, channels), 0u);
  for (const std::uint32_t format : {0u, 0x04u, 0x0bu, 0x91u, 0xb0u, 0xc0u, ~0u})
    CHECK_EQ(texel_bytes(format, 1), 0u);
}

TEST(a_level_halves_what_lies_in_space) {
  const ArrayShape solid = level_shape(shape(20, 5, 3), 2);
  CHECK_EQ(solid.width, 5u);
  CHECK_EQ(solid.height, 1u);
  CHECK_EQ(solid.depth, 1u);
  CHECK_EQ(level_shape(shape(20, 0, 0), 1).height, 0u);  // a dimension that is not there stays so
  CHECK_EQ(level_shape(shape(20, 0, 0), 18).width, 1u);
  CHECK_EQ(level_shape(shape(20, 5, 3, kArrayLayered), 2).depth, 3u);
  CHECK_EQ(level_shape(shape(16, 16, 6, kArrayCube), 2).depth, 6u);
}

TEST(boxes_at_the_edges) {
  const ArrayShape array = shape(10, 4, 3);
  CHECK(box_inside(array, {0, 0, 0, 40, 4, 3}));
  CHECK(box_inside(array, {36, 3, 2, 4, 1, 1}));
  CHECK(!box_inside(array, {0, 0, 0, 44, 4, 3}));
  CHECK(!box_inside(array, {0, 0, 0, 40, 5, 3}));
  CHECK(!box_inside(array, {0, 0, 0, 40, 4, 4}));
  CHECK(!box_inside(array, {4, 0, 0, 40, 4, 3}));
  CHECK(!box_inside(array, {0, 0, 3, 4, 1, 1}));
  CHECK(!box_inside(array, {2, 0, 0, 4, 1, 1}));  // between texels
  CHECK(!box_inside(array, {0, 0, 0, 6, 1, 1}));
  CHECK(!box_inside(array, {0, 0, 0, 0, 1, 1}));  // nothing
  CHECK(!box_inside(array, {0, 0, 0, 4, 0, 1}));
  CHECK(!box_inside(array, {0, 0, 0, 4, 1, 0}));
  CHECK(box_inside(shape(10, 0, 0), {0, 0, 0, 40, 1, 1}));  // a line has one row in one plane
  CHECK(!box_inside(shape(10, 0, 0), {0, 1, 0, 40, 1, 1}));
  CHECK(box_inside(shape(10, 0, 7, kArrayLayered), {0, 0, 6, 40, 1, 1}));
  CHECK(!box_inside({10, 4, 3, 0x99, 1, 0}, {0, 0, 0, 4, 1, 1}));
}

TEST(no_number_wraps_a_box_into_its_array) {
  const ArrayShape array = shape(kMaxArrayExtent, kMaxArrayExtent, kMaxArrayExtent);
  std::mt19937_64 random(3);
  const auto far = [&] { return std::numeric_limits<std::uint64_t>::max() - (random() % 64) * 4; };
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t small = (1 + random() % 1000) * 4;
    CHECK(!box_inside(array, {far(), 0, 0, small, 1, 1}));
    CHECK(!box_inside(array, {small, 0, 0, far(), 1, 1}));
    CHECK(!box_inside(array, {0, far(), 0, small, small, 1}));
    CHECK(!box_inside(array, {0, small, 0, small, far(), 1}));
    CHECK(!box_inside(array, {0, 0, far(), small, 1, small}));
    CHECK(!box_inside(array, {0, 0, small, small, 1, far()}));
  }
}
