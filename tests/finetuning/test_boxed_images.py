import numpy as np

from florence_rag.finetuning.boxed_images import BoxedImage, crop_boxed_image
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.scene import Scene, SceneObject


def test_a_crop_keeps_the_boxes_that_are_visible_in_it() -> None:
    scene = Scene((SceneObject("car", "red", "large", 0), SceneObject("tree", "green", "large", 4)))
    whole = BoxedImage(draw_scene(scene), np.array(object_boxes(scene), dtype=np.float32), np.array([0, 5]))
    part = crop_boxed_image(whole, (0.0, 0.0, 0.5, 1.0))
    assert part.classes.tolist() == [0]
    np.testing.assert_allclose(part.boxes[0, ::2], np.clip(whole.boxes[0, ::2] * 2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(part.boxes[0, 1::2], whole.boxes[0, 1::2], atol=1e-6)
    assert part.image.size == whole.image.size
