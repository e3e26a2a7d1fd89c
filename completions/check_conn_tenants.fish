function __fish_check_conn_tenants_using_command
    set -l cmd (commandline -xpc)
    set -e cmd[1]
    set -l target_cmd $argv

    set -l known_value_flags 'P' 'by' 'c' 'close-wait-age' 'close-wait-critical' 'close-wait-expected' 'close-wait-warning' 'critical' 'extra-opts' 'idle-age' 'idle-critical' 'idle-expected' 'idle-warning' 'key' 'limit' 'local' 'netns' 'o' 'outliers-critical' 'outliers-min-count' 'outliers-warning' 'output' 'output-file' 'p' 'peer' 'pid' 'port' 'proc-root' 'profile' 'replay' 'require-listener' 'side' 'source' 'state-dir' 't' 'timeout' 'top' 'unit' 'unix' 'user' 'w' 'warning' 

    set -l i 1
    set -l cleaned_cmd
    while test $i -le (count $cmd)
        set -l arg $cmd[$i]
        if string match -q -- "-*" $arg
            set -l pure_flag (string replace -r '^--?' '' -- $arg)
            if contains -- $pure_flag $known_value_flags
                set -l next_i (math $i + 1)
                if test $next_i -le (count $cmd)
                    if not string match -q -- "-*" $cmd[$next_i]
                        set i $next_i
                    end
                end
            end
        else
            set -a cleaned_cmd $arg
        end
        set i (math $i + 1)
    end

    set -l count_cleaned (count $cleaned_cmd)
    set -l count_target (count $target_cmd)
    
    if test $count_cleaned -ne $count_target
        return 1
    end
    
    for i in (seq $count_target)
        if test $cleaned_cmd[$i] != $target_cmd[$i]
            return 1
        end
    end
    
    return 0
end

complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l key -r -d 'what names a tenant: unit, user, container, cgroup:DEPTH, peer/24 or peer/24,64 (IPv6), cwd:REGEX, cmd:REGEX or map:FILE; default from the profile, else unit'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l limit -r -d 'connections that the service accepts; default from the profile, else shares are of all'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l close-wait-age -r -d 'count a tenant\'s CLOSE_WAIT only from this age on; default from the profile, else 60s'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l close-wait-warning -r -d 'warning range for each tenant\'s count in CLOSE_WAIT; default from the profile'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l close-wait-critical -r -d 'critical range for each tenant\'s count in CLOSE_WAIT; default from the profile'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l close-wait-expected -r -d 'sockets in CLOSE_WAIT that each pool may keep until it next looks at them: each client host, on the host itself each unit and user; default from the profile, else what check_conn_growth saw come and go'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l idle-age -r -d 'a connection without data for this long is idle; default from the profile, else 30m'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l idle-warning -r -d 'warning range for each tenant\'s idle connections; default from the profile'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l idle-critical -r -d 'critical range for each tenant\'s idle connections; default from the profile'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l idle-expected -r -d 'idle connections that each pool may keep as spares; default from the profile, else 0'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l outliers-warning -r -d 'warning range for how many tenants stand out above the others; default 0'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l outliers-critical -r -d 'critical range for how many tenants stand out above the others; default none'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l outliers-min-count -r -d 'a tenant with fewer connections doesn\'t stand out; default from the profile, else 10'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l state-dir -r -d 'where it is remembered since when UNIX sockets have been without their peer; default /var/lib/connleak, see the man page'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l port -s p -r -d 'service port, several or a range as 8000-8100. A port finds its profile by itself; may be repeated'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l unix -r -d 'UNIX socket that the service listens on: its path, @NAME for an abstract one, or a pattern with * and ?; may be repeated'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l profile -s P -r -d 'thresholds of this service: a name such as memcached, or a YAML file. Without -p and --unix also its ports and UNIX sockets. Several, for -o prometheus only, are checked one after the other; may be repeated'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l warning -s w -r -d 'warning range for the check\'s main number; default from the profile, as far as it has one'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l critical -s c -r -d 'critical range for the check\'s main number; default as for --warning'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l side -r -d 'which end of the connections: server (the local port is the service\'s), client (the remote port is) or both; default from the profile, else both'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l peer -r -d 'only sockets whose remote address is in this range; may be repeated'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l local -r -d 'only sockets whose local address is in this range; may be repeated'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l user -r -d 'only sockets of this user'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l unit -r -d 'only sockets of this systemd unit, or with a slash of this cgroup path and all below it'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l pid -r -d 'only sockets that these processes hold; may be repeated'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l require-listener -r -d 'be UNKNOWN, or with :critical CRITICAL, where nothing listens on the port; by default that is only said'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l netns -r -d 'network namespace: self, all of this host\'s (containers), that of a process id, or a name from \'ip netns\'; default self'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l source -r -d 'where sockets are read: auto, netlink or proc (without ages); default auto'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l proc-root -r -d 'read processes and socket tables below this directory, as /host/proc in a container'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l replay -r -d 'judge a dump recorded with \'ss -tanie -D FILE\' instead of this machine'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l by -r -d 'group what is found by owner, unit, user, peer or tenant; default owner'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l top -r -d 'most entries of any list in the output, 0 for all; default 5'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l output -s o -r -d 'output format: nagios, json or prometheus; default nagios'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l output-file -r -d 'write the output to this file, whole or not at all, and the plain line to standard output'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l timeout -s t -r -d 'time limit in seconds and the state it ends in; default 10:unknown'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l verbose -s v -d 'say more: -v owners, -vv every socket (with -o json its descriptor, too), -vvv what each stage saw and took'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l help -s h -d 'show this help'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l version -s V -d 'show the version'
complete -c check_conn_tenants -n '__fish_check_conn_tenants_using_command' -f -l extra-opts -r -d 'read more options from a section of an INI file; what is typed here wins; may be repeated'
