-- api.lua - requests for wrk: what KIND names, as the user of TOKEN, in namespace NS.
local kind, token, ns = os.getenv("KIND"), os.getenv("TOKEN"), os.getenv("NS")
local base = "/api/v1/namespaces/" .. ns .. "/configmaps"
local text = string.rep("x", 800) -- an object is 1 KB
local run = tostring(os.time())
local count = 0

wrk.headers["Authorization"] = "Bearer " .. token

local kinds = {
	get = function() return wrk.format("GET", base .. "/bench-" .. count % 100) end,
	list = function() return wrk.format("GET", base .. "?limit=100&labelSelector=bench") end,
	create = function()
		wrk.headers["Content-Type"] = "application/json"
		return wrk.format("POST", base, nil, '{"metadata":{"name":"c' .. run .. "-" .. count ..
			'"},"data":{"text":"' .. text .. '"}}')
	end,
	patch = function()
		wrk.headers["Content-Type"] = "application/merge-patch+json"
		return wrk.format("PATCH", base .. "/bench-" .. count % 100, nil, '{"data":{"n":"' .. count .. '"}}')
	end,
}

function request()
	count = count + 1
	return kinds[kind]()
end

-- Anything but success is told, as a figure of errors means nothing.
function done(summary, latency)
	local failed = summary.errors.status + summary.errors.connect + summary.errors.read +
		summary.errors.write + summary.errors.timeout
	io.write(string.format("figure %.0f %.2f %.2f %d\n", summary.requests / (summary.duration / 1e6),
		latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
