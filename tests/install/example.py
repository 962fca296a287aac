"""Ten lines that invert, blend, edit and paste back one photograph; `check_wheel.sh` runs them in an empty folder."""

from __future__ import annotations

import padinv

model = padinv.load()
a, b = model.invert(["eileen-collins.png", "grace-hopper.png"])
a.save("a.safetensors")
a.paste_back().save("reconstructed.png")
padinv.blend(a, b).paste_back().save("blend.png")
change = padinv.difference(*model.invert(["before.png", "after.png"]))
padinv.apply(a, change, "padding").paste_back().save("edited.png")
padinv.interpolate(a, b, 5)[2].images()[0].save("halfway.png")
print(model, a)
