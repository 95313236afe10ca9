// ImageCache: a file appears under a digest when its bytes have it, and nothing else is ever left behind.
#include "replay/image_cache.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "check.hpp"

using namespace tfusion;
using replay::Image;
using replay::ImageCache;
using Stored = ImageCache::Stored;
namespace fs = std::filesystem;

namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
protocol::Digest digest(std::string_view text) {
  return protocol::sha256(bytes(text));
}

std::string name(std::string_view text) {
  std::string hex;
  for (const std::uint8_t b : digest(text)) {
    hex += "0123456789abcdef"[b >> 4];
    hex += "0123456789abcdef"[b & 15];
  }
  return hex;
}

class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "images-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path = pattern;
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(path)) all.push_back(entry.path().filename().string());
    return all;
  }
  fs::path path;
};

bool holds(const ImageCache& cache, std::string_view text) {
  const auto image = cache.find(digest(text), text.size());
  return image != nullptr && image->bytes().size() == text.size() &&
         std::memcmp(image->bytes().data(), text.data(), text.size()) == 0;
}

Stored store(ImageCache& cache, std::string_view text) {
  return cache.store(digest(text), text.size(), 0, bytes(text));
}

}  // namespace

TEST(an_image_in_one_piece) {
  Folder folder;
  ImageCache cache(folder.path);
  CHECK(!holds(cache, "an image"));
  CHECK_EQ(store(cache, "an image"), Stored::complete);
  CHECK(holds(cache, "an image"));
  CHECK_EQ(folder.names().size(), 1u);
  CHECK_EQ(folder.names().front(), name("an image"));
  CHECK(cache.find(digest("an image"), 7) ==
        nullptr);  // of another size it is not the one that was asked for
  CHECK(cache.find(digest("an image"), 0) == nullptr);
  CHECK(cache.find(digest("an image"), ~std::uint64_t{0}) == nullptr);
}

TEST(an_image_in_pieces_appears_with_the_last) {
  Folder folder;
  ImageCache cache(folder.path), other(folder.path);
  const std::string text(100'000, 'p');
  for (std::size_t at = 0; at < text.size(); at += 30'000) {
    CHECK(!holds(other, text));
    const std::size_t length = std::min<std::size_t>(30'000, text.size() - at);
    const Stored stored =
        cache.store(digest(text), text.size(), at, bytes(std::string_view(text).substr(at, length)));
    CHECK_EQ(stored, at + length == text.size() ? Stored::complete : Stored::more);
  }
  CHECK(holds(other, text));
  CHECK_EQ(folder.names().size(), 1u);
}

TEST(bytes_of_another_digest_are_refused_and_nothing_is_left) {
  Folder folder;
  ImageCache cache(folder.path);
  CHECK_EQ(cache.store(digest("good"), 4, 0, bytes("evil")), Stored::refused);
  CHECK(folder.names().empty());
  CHECK(!holds(cache, "good") && !holds(cache, "evil"));
  CHECK_EQ(cache.store(digest("good"), 5, 0, bytes("good")), Stored::more);  // a total that is too large
  CHECK_EQ(cache.store(digest("good"), 5, 4, bytes("!")), Stored::refused);
  CHECK(folder.names().empty());
}

TEST(an_image_that_is_there_is_not_replaced_by_other_bytes) {
  Folder folder;
  ImageCache cache(folder.path);
  CHECK_EQ(store(cache, "good"), Stored::complete);
  CHECK_EQ(cache.store(digest("good"), 4, 0, bytes("evil")), Stored::refused);
  CHECK(holds(cache, "good"));
}

TEST(pieces_out_of_order_end_the_upload) {
  const std::pair<std::uint64_t, std::string_view> wrong[] = {
      {5, "f"}, {3, "d"}, {1, "b"}, {6, "g"}, {~std::uint64_t{0}, "x"}, {4, "efghijklmnop"}, {4, ""}};
  for (const auto& [offset, piece] : wrong) {
    Folder folder;
    ImageCache cache(folder.path);
    CHECK_EQ(cache.store(digest("abcdefgh"), 8, 0, bytes("abcd")), Stored::more);
    CHECK_EQ(cache.store(digest("abcdefgh"), 8, offset, bytes(piece)), Stored::refused);
    if (piece.empty()) continue;
    CHECK(folder.names().empty());
    CHECK_EQ(cache.store(digest("abcdefgh"), 8, 4, bytes("efgh")),
             Stored::refused);  // what was begun is forgotten
    CHECK_EQ(store(cache, "abcdefgh"), Stored::complete);
  }
}

TEST(an_upload_that_was_never_begun) {
  Folder folder;
  ImageCache cache(folder.path);
  CHECK_EQ(cache.store(digest("abcd"), 4, 2, bytes("cd")), Stored::refused);
  CHECK(folder.names().empty());
}

TEST(a_total_that_changes_under_way_is_refused) {
  for (const std::uint64_t total :
       {std::uint64_t{2}, std::uint64_t{4}, std::uint64_t{7}, std::uint64_t{9}, ImageCache::kMaxImageBytes}) {
    Folder folder;
    ImageCache cache(folder.path);
    CHECK_EQ(cache.store(digest("abcdefgh"), 8, 0, bytes("abcd")), Stored::more);
    CHECK_EQ(cache.store(digest("abcdefgh"), total, 4, bytes("efgh")), Stored::refused);
    CHECK(folder.names().empty());
  }
}

TEST(sizes_that_no_image_has) {
  Folder folder;
  ImageCache cache(folder.path);
  for (const std::uint64_t total : {std::uint64_t{0}, ImageCache::kMaxImageBytes + 1, ~std::uint64_t{0}}) {
    CHECK_EQ(cache.store(digest("abcd"), total, 0, bytes("abcd")), Stored::refused);
  }
  CHECK_EQ(cache.store(digest("abcd"), 3, 0, bytes("abcd")), Stored::refused);
  CHECK(folder.names().empty());
}

TEST(begun_anew_the_first_attempt_is_forgotten) {
  Folder folder;
  ImageCache cache(folder.path);
  CHECK_EQ(cache.store(digest("abcd"), 4, 0, bytes("zz")), Stored::more);
  CHECK_EQ(cache.store(digest("abcd"), 4, 0, bytes("ab")), Stored::more);
  CHECK_EQ(folder.names().size(), 1u);
  CHECK_EQ(cache.store(digest("abcd"), 4, 2, bytes("cd")), Stored::complete);
  CHECK(holds(cache, "abcd"));
}

TEST(uploads_at_once_are_bounded_and_go_with_their_session) {
  Folder folder;
  {
    ImageCache cache(folder.path);
    for (std::size_t i = 0; i < ImageCache::kMaxUploads; ++i) {
      CHECK_EQ(cache.store(digest(std::to_string(i)), 2, 0, bytes("x")), Stored::more);
    }
    CHECK_EQ(cache.store(digest("one more"), 8, 0, bytes("one ")), Stored::refused);
    CHECK_EQ(folder.names().size(), ImageCache::kMaxUploads);
    CHECK_EQ(cache.store(digest("0"), 2, 1, bytes("y")), Stored::refused);  // ends one: its digest is another
    CHECK_EQ(cache.store(digest("one more"), 8, 0, bytes("one ")), Stored::more);
  }
  CHECK(folder.names().empty());
}

TEST(what_one_session_may_write_in_all_is_bounded) {
  constexpr std::uint64_t kMost = 3 * ImageCache::kFileBytes + 20;
  Folder folder;
  ImageCache cache(folder.path, kMost);
  CHECK_EQ(store(cache, "eight by"), Stored::complete);
  CHECK_EQ(cache.store(digest("another"), 7, 0, bytes("eight by")),
           Stored::refused);  // too long: nothing is written
  CHECK_EQ(cache.store(digest("abcdefgh"), 8, 0, bytes("abcdefgi")),
           Stored::refused);  // written, then refused
  CHECK_EQ(store(cache, "one more than can be"), Stored::refused);
  CHECK_EQ(folder.names().size(), 1u);
  ImageCache next(folder.path, kMost);
  CHECK_EQ(store(next, "another session's"), Stored::complete);
}

TEST(many_sessions_store_the_same_image_at_once) {
  Folder folder;
  const std::string text(300'000, 'm');
  std::vector<std::thread> sessions;
  std::atomic<int> complete{0};
  for (int i = 0; i < 8; ++i) {
    sessions.emplace_back([&] {
      ImageCache cache(folder.path);
      Stored stored = Stored::more;
      for (std::size_t at = 0; at < text.size(); at += 10'000) {
        stored = cache.store(digest(text), text.size(), at, bytes(std::string_view(text).substr(at, 10'000)));
        const auto seen = cache.find(digest(text), text.size());  // another's, perhaps: whole, or not there
        if (seen != nullptr && std::memcmp(seen->bytes().data(), text.data(), text.size()) != 0)
          stored = Stored::refused;
      }
      complete += stored == Stored::complete;
    });
  }
  for (std::thread& session : sessions) session.join();
  CHECK_EQ(complete.load(), 8);
  CHECK_EQ(folder.names().size(), 1u);
}

TEST(a_link_under_an_images_name_is_not_followed) {
  Folder folder, elsewhere;
  ImageCache cache(folder.path);
  std::ofstream(elsewhere.path / "secret") << "secret";
  fs::create_symlink(elsewhere.path / "secret", folder.path / name("secret"));
  CHECK(cache.find(digest("secret"), 6) == nullptr);
  CHECK_EQ(store(cache, "secret"), Stored::complete);  // takes the link's place, not its target's
  CHECK(fs::is_regular_file(fs::symlink_status(folder.path / name("secret"))));
  CHECK(holds(cache, "secret"));
}

TEST(files_are_their_owners_alone) {
  Folder folder;
  const mode_t before = umask(0);
  ImageCache cache(folder.path);
  CHECK_EQ(cache.store(digest("abcd"), 4, 0, bytes("ab")), Stored::more);
  for (int step = 0; step < 2; ++step) {
    struct stat status{};
    CHECK_EQ(stat((folder.path / folder.names().front()).c_str(), &status), 0);
    CHECK_EQ(status.st_mode & 07777, 0600u);
    if (step == 0) CHECK_EQ(cache.store(digest("abcd"), 4, 2, bytes("cd")), Stored::complete);
  }
  umask(before);
}

TEST(a_nul_lies_behind_every_image) {
  Folder folder;
  ImageCache cache(folder.path);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (const std::size_t length : {std::size_t{1}, page - 1, page, page + 1, 3 * page}) {
    const std::string text(length, 't');
    CHECK_EQ(store(cache, text), Stored::complete);
    const auto image = cache.find(digest(text), length);
    CHECK(image != nullptr);
    if (image != nullptr) CHECK_EQ(std::strlen(reinterpret_cast<const char*>(image->bytes().data())), length);
  }
}

TEST(an_image_outlives_its_file) {
  Folder folder;
  ImageCache cache(folder.path);
  store(cache, "pruned");
  const auto image = cache.find(digest("pruned"), 6);
  fs::remove(folder.path / name("pruned"));
  CHECK(image != nullptr && std::memcmp(image->bytes().data(), "pruned", 6) == 0);
}

TEST(a_folder_that_is_gone) {
  Folder folder;
  ImageCache cache(folder.path / "none");
  CHECK_EQ(store(cache, "abcd"), Stored::refused);
  CHECK(!holds(cache, "abcd"));
}
