#include "image_cache.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace tfusion::replay {

Image::~Image() {
  munmap(memory_, mapped_);
}

void ImageCache::abandon() {
  while (!uploads_.empty()) drop(uploads_.begin());
}

std::string ImageCache::path_of(const protocol::Digest& digest) const {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string name;
  for (const std::uint8_t b : digest) {
    name += kHex[b >> 4];
    name += kHex[b & 15];
  }
  return folder_ + "/" + name;
}

std::shared_ptr<const Image> ImageCache::find(const protocol::Digest& digest, std::uint64_t bytes) const {
  if (bytes == 0 || bytes > kMaxImageBytes) return nullptr;
  const int descriptor = open(path_of(digest).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor < 0) return nullptr;
  struct stat status{};
  std::shared_ptr<const Image> image;
  if (fstat(descriptor, &status) == 0 && static_cast<std::uint64_t>(status.st_size) == bytes) {
    // Zeros first, the file over them: what is left of the last page, or one page more, is zero.
    const std::size_t mapped = bytes + 1;
    void* memory = mmap(nullptr, mapped, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) {
      image = std::make_shared<const Image>(memory, bytes, mapped);
      if (mmap(memory, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, descriptor, 0) == MAP_FAILED)
        image = nullptr;
    }
    futimens(descriptor, nullptr);  // recently used: the daemon prunes the oldest
  }
  close(descriptor);
  return image;
}

void ImageCache::drop(std::map<protocol::Digest, Upload>::iterator upload) {
  if (upload->second.descriptor >= 0) {
    close(upload->second.descriptor);
    unlink(upload->second.path.c_str());
  }
  uploads_.erase(upload);
}

ImageCache::Stored ImageCache::store(const protocol::Digest& digest, std::uint64_t total,
                                     std::uint64_t offset, std::span<const std::byte> piece) {
  if (total == 0 || total > kMaxImageBytes || piece.empty()) return Stored::refused;
  auto upload = uploads_.find(digest);
  if (offset == 0) {  // begun anew: an earlier attempt was given up
    if (upload != uploads_.end()) drop(upload);
    if (uploads_.size() >= kMaxUploads || kFileBytes > most_bytes_ - written_) return Stored::refused;
    written_ += kFileBytes;
    Upload fresh;
    fresh.total = total;
    fresh.path = folder_ + "/upload-XXXXXX";
    fresh.descriptor = mkostemp(fresh.path.data(), O_CLOEXEC);  // 0600
    if (fresh.descriptor < 0) return Stored::refused;
    upload = uploads_.emplace(digest, std::move(fresh)).first;
  }
  if (upload == uploads_.end()) return Stored::refused;
  Upload& u = upload->second;
  if (total != u.total || offset != u.have || piece.size() > total - u.have ||
      piece.size() > most_bytes_ - written_) {
    drop(upload);
    return Stored::refused;
  }
  written_ += piece.size();
  u.hash.update(piece);
  for (std::size_t written = 0; written < piece.size();) {
    const ssize_t n = write(u.descriptor, piece.data() + written, piece.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      drop(upload);
      return Stored::refused;
    }
    written += static_cast<std::size_t>(n);
  }
  u.have += piece.size();
  if (u.have < total) return Stored::more;
  if (u.hash.finish() != digest || rename(u.path.c_str(), path_of(digest).c_str()) != 0) {
    drop(upload);
    return Stored::refused;
  }
  close(u.descriptor);
  uploads_.erase(upload);
  return Stored::complete;
}

}  // namespace tfusion::replay
