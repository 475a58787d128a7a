// Runs an ONNX model in onnxruntime-node on TensorProto inputs and writes its outputs as NumPy files.
// usage: node infer.js NODE_MODULES MODEL OUTPUT_FOLDER INPUT.pb ...
'use strict';
const fs = require('fs');
const path = require('path');
const [modules, model, folder, ...inputs] = process.argv.slice(2);
const ort = require(path.join(modules, 'onnxruntime-node'));

function varint(bytes, at) {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
        const byte = bytes[at++];
        value |= BigInt(byte & 127) << shift;
        if (byte < 128) return [Number(value), at];
    }
}

// dims = 1, data_type = 2, name = 8, raw_data = 9: fp32 with raw_data is all that the vectors have.
function readTensor(file) {
    const bytes = fs.readFileSync(file);
    const dims = [];
    let name = '', raw, type, at = 0;
    while (at < bytes.length) {
        let tag, value;
        [tag, at] = varint(bytes, at);
        [value, at] = varint(bytes, at);
        if ((tag & 7) === 2) {
            const content = bytes.subarray(at, at + value);
            at += value;
            if (tag >> 3 === 8) name = content.toString();
            if (tag >> 3 === 9) raw = content;
            for (let k = 0; tag >> 3 === 1 && k < content.length;) {
                [value, k] = varint(content, k);
                dims.push(value);
            }
        } else if (tag >> 3 === 1) {
            dims.push(value);
        } else if (tag >> 3 === 2) {
            type = value;
        }
    }
    if (type !== 1 || !raw) throw new Error(`${file}: not fp32 with raw_data`);
    return { name, tensor: new ort.Tensor('float32', new Float32Array(new Uint8Array(raw).buffer), dims) };
}

function writeNpy(file, tensor) {
    if (tensor.type !== 'float32') throw new Error(`an output of type ${tensor.type}`);
    const dims = tensor.dims.map((size) => size + ',').join('');
    let header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${dims}), }`;
    header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
    const start = Buffer.from('\x93NUMPY\x01\x00\x00\x00', 'latin1');
    start.writeUInt16LE(header.length, 8);
    const data = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
    fs.writeFileSync(file, Buffer.concat([start, Buffer.from(header), data]));
}

async function main() {
    const session = await ort.InferenceSession.create(model);
    const feeds = {};
    inputs.forEach((file, i) => {
        const { name, tensor } = readTensor(file);
        feeds[session.inputNames.includes(name) ? name : session.inputNames[i]] = tensor;
    });
    const results = await session.run(feeds);
    session.outputNames.forEach((name, i) => writeNpy(path.join(folder, `output_${i}.npy`), results[name]));
}
main().catch((error) => {
    console.error(error.message);
    process.exit(1);
});
