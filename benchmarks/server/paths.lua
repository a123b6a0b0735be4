-- Ten thousand different paths below the URL, for wrk.
local number = 0
request = function()
  number = (number + 7919) % 10000
  return wrk.format("GET", wrk.path .. "/item/" .. number)
end
