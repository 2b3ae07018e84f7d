import numpy as np
import pytest
from PIL import Image

from genvec.images import read_images, shrink_images


def save(folder, name, shape=(4, 6), mode="L", value=7):
    image = Image.new(mode, shape[::-1], value if mode == "L" else (value, 0, value))
    image.save(folder / name)


def test_images_in_the_order_of_their_names(tmp_path):
    for value, name in ((1, "b.png"), (2, "a.bmp"), (3, "c.png")):
        save(tmp_path, name, value=value)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "inner").mkdir()
    found = read_images(tmp_path, (4, 6, 1))
    assert found.images.shape == (3, 4, 6, 1) and found.images.dtype == np.uint8
    assert found.images[:, 0, 0, 0].tolist() == [2, 1, 3]
    assert [name for name, _ in found.skipped] == ["broken.png", "inner"]


def test_colour(tmp_path):
    save(tmp_path, "a.png", mode="RGB")
    image = read_images(tmp_path, (4, 6, 3)).images[0]
    assert image[0, 0].tolist() == [7, 0, 7]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 6, 2), r"files hold 1 or 3 channels; the encoder was trained on 2"),
        ((6, 4, 1), r"a.png: 4 × 6; the encoder was trained on 6 × 4"),
    ],
)
def test_images_that_do_not_fit(tmp_path, shape, message):
    save(tmp_path, "a.png")
    with pytest.raises(ValueError, match=message):
        read_images(tmp_path, shape)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match="has no image in its 0 files"):
        read_images(tmp_path, (4, 6, 1))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no image in its 1 files; a.txt: no whole image"):
        read_images(tmp_path, (4, 6, 1))
    with pytest.raises(ValueError, match="is a file; if it is an archive"):
        read_images(tmp_path / "a.txt", (4, 6, 1))


def test_shrunk_images_are_means_of_blocks():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 2)).astype(np.uint8)
    with pytest.raises(ValueError, match=r"size is 5; images of 4 × 8 shrink to 1..4"):
        shrink_images(images, 5)
    small = shrink_images(images[:, :, :4], 2)
    assert small.shape == (3, 2, 2, 2) and small.dtype == np.uint8
    for (m, y, x, c), value in np.ndenumerate(small):
        block = images[m, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c].astype(float)
        assert abs(value - block.mean()) <= 0.5
    np.testing.assert_array_equal(shrink_images(images[:, :, :4], 4), images[:, :, :4])


def test_a_pixel_on_the_border_of_two_counts_for_both():
    image = np.array([[30, 60, 120]] * 3, np.uint8)[None, :, :, None]
    # the mean of a pixel and a half: (30 + 60 / 2) · 2/3 and (60 / 2 + 120) · 2/3
    np.testing.assert_array_equal(shrink_images(image, 2)[0, :, :, 0], [[40, 100]] * 2)
    turned = shrink_images(np.swapaxes(image, 1, 2), 2)[0, :, :, 0]
    np.testing.assert_array_equal(turned, [[40, 40], [100, 100]])
