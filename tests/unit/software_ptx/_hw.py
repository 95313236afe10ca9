import ctypes, struct, sys, json
cases=json.load(open(sys.argv[1]))
cu=ctypes.CDLL('libcuda.so.1')
def ck(r):
    if r: raise SystemExit(f'error {r}')
ck(cu.cuInit(0)); dev=ctypes.c_int(); ck(cu.cuDeviceGet(ctypes.byref(dev),0)); ctx=ctypes.c_void_p(); ck(cu.cuDevicePrimaryCtxRetain(ctypes.byref(ctx),dev)); ck(cu.cuCtxSetCurrent(ctx))
d=ctypes.c_uint64(); ck(cu.cuMemAlloc_v2(ctypes.byref(d),8*4096))
out=[]
for ptx in cases:
    m=ctypes.c_void_p(); r=cu.cuModuleLoadData(ctypes.byref(m),ptx.encode())
    if r: out.append(f'load {r}'); continue
    f=ctypes.c_void_p(); ck(cu.cuModuleGetFunction(ctypes.byref(f),m,b'k'))
    cu.cuMemsetD8_v2(d,0,8*4096)
    a=(ctypes.c_void_p*1)(ctypes.cast(ctypes.byref(d),ctypes.c_void_p))
    ck(cu.cuLaunchKernel(f,1,1,1,32,1,1,0,None,a,None)); ck(cu.cuCtxSynchronize())
    h=(ctypes.c_uint64*32)(); ck(cu.cuMemcpyDtoH_v2(h,d,256)); out.append([hex(x) for x in h])
print('RESULT'+json.dumps(out))
