// Runs ONNX models in onnxruntime-node: one line of JSON a case on standard input, in the same order one on standard output.
// usage: node infer.js NODE_MODULES <CASES
// In:  {"model": FILE, "feeds": {NAME: FILE.npy}, "folder": FOLDER}
// Out: {"outputs": [NAME, ...]}, each written to FOLDER/K.npy, or {"error": TEXT} where the runtime refuses the case.
'use strict';
const fs = require('fs');
const path = require('path');
const ort = require(path.join(process.argv[2], 'onnxruntime-node'));
ort.env.logLevel = 'fatal';

const types = {
    float32: ['<f4', Float32Array], float64: ['<f8', Float64Array], float16: ['<f2', Uint16Array],
    int8: ['|i1', Int8Array], uint8: ['|u1', Uint8Array], int16: ['<i2', Int16Array], uint16: ['<u2', Uint16Array],
    int32: ['<i4', Int32Array], uint32: ['<u4', Uint32Array], int64: ['<i8', BigInt64Array],
    uint64: ['<u8', BigUint64Array], bool: ['|b1', Uint8Array],
};

function readNpy(file) {
    const bytes = fs.readFileSync(file);
    const start = 10 + bytes.readUInt16LE(8);
    const header = bytes.subarray(10, start).toString('latin1');
    const descr = /'descr': '([^']+)'/.exec(header)[1];
    const dims = /'shape': \(([^)]*)\)/.exec(header)[1].split(',').filter((d) => d.trim()).map(Number);
    const [name, [, type]] = Object.entries(types).find(([, [d]]) => d === descr);
    const data = new type(new Uint8Array(bytes.subarray(start)).buffer);
    return new ort.Tensor(name, name === 'float16' && typeof Float16Array === 'function' ? asHalf(data) : data, dims);
}

function asHalf(data) {
    return new Float16Array(data.buffer); // what newer versions of node want
}

function writeNpy(file, tensor) {
    const dims = tensor.dims.map((size) => size + ',').join('');
    let header = `{'descr': '${types[tensor.type][0]}', 'fortran_order': False, 'shape': (${dims}), }`;
    header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
    const start = Buffer.from('\x93NUMPY\x01\x00\x00\x00', 'latin1');
    start.writeUInt16LE(header.length, 8);
    const data = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
    fs.writeFileSync(file, Buffer.concat([start, Buffer.from(header, 'latin1'), data]));
}

async function run(line) {
    const session = await ort.InferenceSession.create(line.model, { intraOpNumThreads: 1, logSeverityLevel: 4 });
    try {
        const feeds = {};
        for (const [name, file] of Object.entries(line.feeds)) feeds[name] = readNpy(file);
        const results = await session.run(feeds);
        session.outputNames.forEach((name, k) => writeNpy(path.join(line.folder, `${k}.npy`), results[name]));
        return { outputs: session.outputNames };
    } finally {
        await session.release();
    }
}

async function main() {
    for (const line of fs.readFileSync(0, 'utf8').split('\n').filter((text) => text)) {
        const answer = await run(JSON.parse(line)).catch((error) => ({ error: String(error.message) }));
        console.log(JSON.stringify(answer));
    }
}
main();
