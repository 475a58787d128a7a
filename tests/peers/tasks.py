"""What the models of models.py are for: text, boxes, wake words, speech, faces, lines.

Each task puts real input through a model, or through the chain that it is a part of, and turns the outputs into what a
person would use. judge() compares two such answers: whether the second still does the task that the first does, and
the number to tell.
"""
import os
import subprocess
import tempfile
import wave

import numpy as np
import onnx
from onnx import numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
PIXELS = 2  # by which boxes and ends of lines may move
RATE = 16000


def read_pb(path):
    tensor = onnx.TensorProto()
    with open(path, 'rb') as file:
        tensor.ParseFromString(file.read())
    return numpy_helper.to_array(tensor)


class Program:
    """`legonet run` as a function of named arrays."""

    def __init__(self, legonet):
        self.legonet = legonet

    def __call__(self, model, **feeds):
        with tempfile.TemporaryDirectory() as work:
            command = [self.legonet, 'run', model, '--output', work, '--threads', '1']
            for k, (name, array) in enumerate(feeds.items()):
                path = os.path.join(work, f'input{k}.npy')
                np.save(path, np.array(array, order='C'))
                command += ['--input', f'{name}={path}']
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            count = sum(name.startswith('output_') for name in os.listdir(work))
            return [read_pb(os.path.join(work, f'output_{k}.pb')) for k in range(count)]


def speak(package, text, voice):
    """A sentence at 16 kHz, in 16-bit steps, by the synthesiser of npm's mespeak."""
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, 'speech.wav')
        subprocess.run(['node', os.path.join(HERE, 'speak.js'), package, path, text, voice], check=True, capture_output=True)
        with wave.open(path) as file:
            rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(float)
    count = len(samples) * RATE // rate
    spectrum = np.fft.rfft(samples)[:count // 2 + 1]
    return (np.fft.irfft(spectrum, count) * count / len(samples)).astype(np.float32)


class Lines:
    """The recogniser reads a rendered line, parts of it, and both in other colours."""
    name = 'reads text'

    def __init__(self, run, packages, data):
        self.run = run
        with open(packages['ocr'] + 'ppocr_keys_v1.txt', encoding='utf-8') as file:
            self.keys = [''] + file.read().split('\n')[:6623] + [' ']
        line = read_pb(os.path.join(data, 'ppocr_cls/test_data_set_0/input_0.pb'))
        parts = [line, line[..., :96], line[..., 96:], line[..., 40:160]]
        self.pictures = parts + [-part for part in parts] + [part * .4 + .3 for part in parts]

    def text(self, probabilities):
        """Greedy CTC decoding."""
        best = probabilities[0].argmax(-1)
        return ''.join(self.keys[c] for i, c in enumerate(best) if c and (i == 0 or best[i - 1] != c))

    def answer(self, model):
        return [self.text(self.run(model, x=picture)[0]) for picture in self.pictures]

    def judge(self, full, small):
        same = sum(a == b for a, b in zip(full, small))
        return same == len(full), f'{same} of {len(full)} texts the same; reads "{small[0]}"'


def components(mask):
    """The boxes (x0, y0, x1, y1) of the 4-connected parts of a mask, and their masks."""
    label, found = np.zeros(mask.shape, int), []
    for start in zip(*np.nonzero(mask)):
        if label[start]:
            continue
        stack, label[start], count = [start], len(found) + 1, len(found) + 1
        while stack:
            y, x = stack.pop()
            for at in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= at[0] < mask.shape[0] and 0 <= at[1] < mask.shape[1] and mask[at] and not label[at]:
                    label[at] = count
                    stack.append(at)
        found.append(label == count)
    return found


def moved(full, small):
    """The furthest that an edge of a box has moved from the nearest of the other boxes; inf where the counts differ."""
    if len(full) != len(small):
        return float('inf')
    return max((min(np.abs(np.subtract(a, b)).max() for b in small) for a in full), default=0.)


def judge_moves(moves, what):
    """Of the greatest moves in several pictures: the verdict and its number."""
    lost = sum(not np.isfinite(move) for move in moves)
    worst = max((move for move in moves if np.isfinite(move)), default=0)
    text = f'{what} at most {worst:.1f} pixels off' + (f', not the same number of them in {lost} of {len(moves)} pictures' if lost else '')
    return not lost and worst <= PIXELS, text


class Boxes:
    """The detector finds lines of text on pages; boxes as PaddleOCR makes them: threshold .3, score .6, grown by 1.5."""
    name = 'finds text'

    def __init__(self, run, packages, data):
        self.run, self.pages = run, []
        line = read_pb(os.path.join(data, 'ppocr_cls/test_data_set_0/input_0.pb'))[0] * .5 + .5
        for paper, places in ((1, [(20, 30)]), (.9, [(8, 16), (80, 110)]), (.6, [(40, 100), (110, 10)])):
            page = np.full((3, 192, 320), paper, np.float32)
            for y, x in places:
                page[:, y:y + 48, x:x + 192] = np.minimum(line, paper)
            mean, deviation = np.array([[.485, .456, .406], [.229, .224, .225]]).reshape(2, 3, 1, 1)
            self.pages.append(((page - mean) / deviation)[None].astype(np.float32))

    def boxes(self, probability):
        boxes = []
        for part in components(probability > .3):
            if part.sum() < 16 or probability[part].mean() < .6:
                continue
            y, x = np.nonzero(part)
            width, height = np.ptp(x) + 1, np.ptp(y) + 1
            grow = width * height * 1.5 / (2 * (width + height))
            boxes.append((x.min() - grow, y.min() - grow, x.max() + grow, y.max() + grow))
        return boxes

    def answer(self, model):
        return [self.boxes(self.run(model, x=page)[0][0, 0]) for page in self.pages]

    def judge(self, full, small):
        return judge_moves([moved(a, b) for a, b in zip(full, small)], f'{sum(map(len, full))} boxes')


class WakeWord:
    """Spectrogram, embedding and head: which of the clips wake it."""
    name = 'wakes'
    # What is said, and in which voices: only the first is to wake it.
    CLIPS = [(text, voice) for text in ('hey rhasspy', 'hey mycroft', 'they are raspy', 'set a timer for ten minutes')
             for voice in ('en/en-us', 'en/en', 'en/en-rp', 'en/en-sc')]

    def __init__(self, run, packages, data):
        self.run = run
        silence = np.zeros(RATE, np.float32)
        self.clips = [np.concatenate([silence, speak(packages['speech'], *clip), silence]) for clip in self.CLIPS]

    def score(self, clip, spectrogram, embedder, head):
        mel = self.run(spectrogram, input=clip[None])[0].reshape(-1, 32) / 10 + 2
        windows = np.stack([mel[at:at + 76] for at in range(0, len(mel) - 75, 8)])[..., None]
        embedding = self.run(embedder, input_1=windows.astype(np.float32))[0].reshape(-1, 96)
        return max(float(self.run(head, **{'onnx::Flatten_0': embedding[None, at:at + 16]})[0].max())
                   for at in range(0, len(embedding) - 15, 2))

    def answer(self, spectrogram, embedder, head):
        return [self.score(clip, spectrogram, embedder, head) for clip in self.clips]

    def judge(self, full, small):
        same = sum((a > .5) == (b > .5) for a, b in zip(full, small))
        woken = sum(b > .5 for b in small)
        return same == len(full), (f'{same} of {len(full)} clips decided the same ({woken} wake it), '
                                   f'scores at most {max(abs(a - b) for a, b in zip(full, small)):.3f} off')


class Speech:
    """Silero's detector over sentences between silence and noise, 32 ms at a time."""
    name = 'hears speech'

    def __init__(self, run, packages, data):
        random = np.random.default_rng(5)
        self.run = run
        parts = [random.normal(0, 60, RATE)]
        for text, voice in (('the door is open', 'en/en-us'), ('please count all the people in the picture', 'en/en-rp')):
            parts += [speak(packages['speech'], text, voice), random.normal(0, 300, RATE)]
        audio = np.concatenate(parts).astype(np.float32) / 32768
        self.audio = np.concatenate([np.zeros(64, np.float32), audio[:len(audio) // 512 * 512]])

    def answer(self, model):
        state, scores = np.zeros((2, 1, 128), np.float32), []
        for at in range(64, len(self.audio), 512):
            score, state = self.run(model, input=self.audio[None, at - 64:at + 512], state=state, sr=np.array(RATE))
            scores.append(float(score.ravel()[0]))
        return scores

    def judge(self, full, small):
        same = sum((a > .5) == (b > .5) for a, b in zip(full, small))
        spans = [np.flatnonzero(np.diff([0] + [score > .5 for score in scores] + [0])) for scores in (full, small)]
        works = len(spans[0]) == len(spans[1]) and bool((np.abs(spans[0] - spans[1]) <= 1).all())
        return works, f'{same} of {len(full)} frames decided the same ({sum(a > .5 for a in full)} are speech)'


class Faces:
    """BlazeFace's best face in each picture: blended as MediaPipe does, box and six points."""
    name = 'finds faces'

    def __init__(self, run, packages, data):
        self.run, self.pictures = run, []
        for k in range(3):
            picture = read_pb(os.path.join(data, f'blazeface_front_128/test_data_set_{k}/input_0.pb'))
            larger = picture.repeat(2, 1).repeat(2, 2)
            self.pictures += [larger, larger[:, :, ::-1]]

    def answer(self, model):
        return [self.face(self.run(model, **{'input:0': picture})) for picture in self.pictures]

    @staticmethod
    def face(outputs):
        scores, boxes = [], []
        for cells, anchors in ((16, 2), (8, 6)):
            count = cells * cells * anchors
            scores += [1 / (1 + np.exp(-np.clip(o, -80, 80).ravel())) for o in outputs if o.size == count]
            raw = next(o for o in outputs if o.size == count * 16).reshape(cells, cells, anchors, 8, 2).copy()
            centre = (np.arange(cells) + .5) / cells * 256
            raw[..., [0, 2, 3, 4, 5, 6, 7], 0] += centre[None, :, None, None]
            raw[..., [0, 2, 3, 4, 5, 6, 7], 1] += centre[:, None, None, None]
            boxes.append(raw.reshape(count, 16))
        scores, boxes = np.concatenate(scores), np.concatenate(boxes)
        best = scores.argmax()
        if scores[best] < .5:
            return []
        near = (np.abs(boxes[:, :2] - boxes[best, :2]).max(1) < boxes[best, 2] / 4) & (scores > .5)
        return [np.average(boxes[near], axis=0, weights=scores[near])]

    def judge(self, full, small):
        return judge_moves([moved(a, b) for a, b in zip(full, small)], f'{sum(map(len, full))} faces')


class Segments:
    """M-LSD's lines in drawn pictures of boxes."""
    name = 'finds lines'

    def __init__(self, run, packages, data):
        self.run, self.pictures = run, []
        y, x = np.mgrid[:320, :320]
        for turn in (0, .3, -.2):
            u, v = (x - 160) * np.cos(turn) - (y - 160) * np.sin(turn), (x - 160) * np.sin(turn) + (y - 160) * np.cos(turn)
            shade = np.full((320, 320), 200.)
            shade[(abs(u) < 110) & (abs(v) < 80)] = 90
            shade[(abs(u - 20) < 45) & (abs(v + 10) < 30)] = 230
            rgba = np.stack([shade, shade * .9, shade * .8, np.ones_like(shade)], -1)
            self.pictures.append(rgba[None].astype(np.float32))

    def answer(self, model):
        return [self.lines(self.run(model, **{'input_image_with_alpha:0': picture})) for picture in self.pictures]

    @staticmethod
    def lines(outputs):
        """Both ends of each line, x and y, from the cell that is its middle."""
        scores = next(o for o in outputs if o.shape[-1] == 1)[0, ..., 0]
        offsets = next(o for o in outputs if o.shape[-1] == 4)[0]
        return [(np.array([x, y, x, y]) + offsets[y, x]) * 2 for y, x in zip(*np.nonzero(scores > .2))]

    def judge(self, full, small):
        return judge_moves([moved(a, b) for a, b in zip(full, small)], f'{sum(map(len, full))} lines')
