"""Features as typical challenge code computes them: one script per modality, each opening the video itself, one clip
and one frame at a time, one process, float32. The same weights and rates as mien.

    python bench/plain.py VIDEOS OUT

It uses MediaPipe itself, so it is run in an environment that has it; ``extraction.py`` makes one (``environments.py``).
"""

import sys
from pathlib import Path

import av
import mediapipe
import numpy as np
import torch
from faster_whisper import WhisperModel as Recogniser
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, WhisperModel

from mien.weights import locate

FPS_VISION, FPS_MOTION, SIDE = 4, 10, 224
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def read_audio(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return np.zeros(0, np.float32)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([*parts, *(part.to_ndarray()[0] for part in resampler.resample(None))])


def read_frames(path: Path, fps: float) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        if not file.streams.video:
            return []
        rate = float(file.streams.video[0].average_rate or 25)
        every = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return [every[int(n * rate / fps)] for n in range(int(len(every) * fps / rate))]


def open_landmarker() -> FaceLandmarker:
    return FaceLandmarker.create_from_options(
        FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(locate("face-landmarker"))),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
    )


def landmarks(landmarker: FaceLandmarker, frame: np.ndarray):
    return landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(frame)))


def text(videos: list[Path], out: Path) -> None:
    recogniser = Recogniser(str(locate("whisper-tiny.en")), device="cpu", compute_type="float32")
    folder = str(locate("all-minilm-l6-v2"))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for path in videos:
        waveform = read_audio(path)
        if not len(waveform):
            continue
        transcript = " ".join(part.text for part in recogniser.transcribe(waveform, language="en", vad_filter=True)[0])
        batch = tokenizer(transcript, return_tensors="pt", truncation=True)
        states = model(**batch).last_hidden_state
        np.save(out / f"{path.stem}.text.npy", states.mean(1).numpy())


def audio(videos: list[Path], out: Path) -> None:
    folder = locate("whisper-tiny.en-hf")
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    encoder = WhisperModel.from_pretrained(folder).eval().encoder
    for path in videos:
        waveform = read_audio(path)
        if not len(waveform):
            continue
        mel = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
        np.save(out / f"{path.stem}.audio.npy", encoder(mel).last_hidden_state[0].numpy())


def vision(videos: list[Path], out: Path) -> None:
    model = AutoModel.from_pretrained(locate("vit-s14-focus")).eval()
    with open_landmarker() as landmarker:
        for path in videos:
            tokens = []
            for image in read_frames(path, FPS_VISION):
                found = landmarks(landmarker, image).face_landmarks
                if found:
                    crop = face_crop(image, found[0])
                    tokens.append(model(((crop - MEAN) / STD)[None]).pooler_output[0].numpy())
            np.save(out / f"{path.stem}.vision.npy", np.array(tokens))


def face_crop(image: np.ndarray, points) -> torch.Tensor:
    height, width = image.shape[:2]
    xs, ys = [p.x * width for p in points], [p.y * height for p in points]
    half = 0.8 * max(max(xs) - min(xs), max(ys) - min(ys))
    x, y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    part = image[max(0, int(y - half)) : int(y + half), max(0, int(x - half)) : int(x + half)]
    pixels = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]


def motion(videos: list[Path], out: Path) -> None:
    with open_landmarker() as landmarker:
        for path in videos:
            rows = []
            for image in read_frames(path, FPS_MOTION):
                found = landmarks(landmarker, image)
                if found.face_blendshapes:
                    shapes = [shape.score for shape in found.face_blendshapes[0]]
                    rows.append([*shapes, *found.facial_transformation_matrixes[0].ravel()])
            np.save(out / f"{path.stem}.motion.npy", np.array(rows))


def main() -> None:
    videos, out = sorted(Path(sys.argv[1]).glob("*.mp4")), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        for modality in (text, audio, vision, motion):
            modality(videos, out)


if __name__ == "__main__":
    main()
