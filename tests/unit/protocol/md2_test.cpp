// MD2 against the vectors of RFC 1319, appendix A.5.
#include "src/md2.hpp"

#include <cstdint>
#include <string>
#include <string_view>

#include "check.hpp"

namespace {

std::string md2(std::string_view message) {
  std::string text;
  for (const std::uint8_t byte :
       tfusion::hook::md2({reinterpret_cast<const std::uint8_t*>(message.data()), message.size()})) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

TEST(vectors) {
  CHECK_EQ(md2(""), "8350e5a3e24c153df2275c9f80692773");
  CHECK_EQ(md2("a"), "32ec01ec4a6dac72c0ab96fb34c0b5d1");
  CHECK_EQ(md2("abc"), "da853b0d3f88d99b30283a69e6ded6bb");
  CHECK_EQ(md2("message digest"), "ab4f496bfb2a530b219ff33031fe06b0");
  CHECK_EQ(md2("abcdefghijklmnopqrstuvwxyz"), "4e8ddff3650292ab5a4108c3aa47940b");
  CHECK_EQ(md2("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
           "da33def2a42df13975352846c30338cd");
  CHECK_EQ(md2("12345678901234567890123456789012345678901234567890123456789012345678901234567890"),
           "d5976f79d83d3a0dc9806c3c66f3efd8");
}
