// The context was reset: its texture and surface objects are gone. The rest of them is in texture.cpp.
#pragma once

namespace tfusion::hook {

void forget_textures();

}  // namespace tfusion::hook
