"""Build a pipeline from a recipe and generate with it.

autotune suggest --model demo --vram 1GB --out recipe.json
python examples/apply_recipe.py recipe.json picture.png
"""

import sys

import autotune


def main(recipe_path: str, picture_path: str) -> None:
    recipe = autotune.load_recipe(recipe_path)
    pipe = autotune.build(recipe)
    work = recipe.workload
    image = pipe(
        "a red circle on a blue background",
        height=work.height,
        width=work.width,
        num_inference_steps=work.steps,
    ).images[0]
    image.save(picture_path)
    print(f"{picture_path}: {work.width}×{work.height}, {dict(recipe.choices)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
