-- The 22 questions of TPC-H, for PostgreSQL. What is asked and the values that stand here (the validation parameters)
-- come from the TPC Benchmark H specification, section 2.4, tpc.org; how it is asked is our own. Every answer has one
-- order: where the specification leaves ties open, more columns decide.

-- Q1: what was shipped until 90 days before December 1998, by flag and status
select l_returnflag, l_linestatus, sum(l_quantity) as sum_qty, sum(l_extendedprice) as sum_base_price,
    sum(l_extendedprice * (1 - l_discount)) as sum_disc_price,
    sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) as sum_charge, avg(l_quantity) as avg_qty,
    avg(l_extendedprice) as avg_price, avg(l_discount) as avg_disc, count(*) as count_order
from lineitem
where l_shipdate <= date '1998-12-01' - 90
group by l_returnflag, l_linestatus
order by l_returnflag, l_linestatus;

-- Q2: who in Europe supplies each brass part of size 15 at the lowest price there
with offers as (
    select ps_partkey, ps_supplycost, s_acctbal, s_name, n_name, s_address, s_phone, s_comment,
        min(ps_supplycost) over (partition by ps_partkey) as lowest
    from partsupp
    join supplier on s_suppkey = ps_suppkey
    join nation on n_nationkey = s_nationkey
    join region on r_regionkey = n_regionkey
    where r_name = 'EUROPE'
)
select s_acctbal, s_name, n_name, p_partkey, p_mfgr, s_address, s_phone, s_comment
from offers
join part on p_partkey = ps_partkey
where ps_supplycost = lowest and p_size = 15 and p_type like '%BRASS'
order by s_acctbal desc, n_name, s_name, p_partkey
limit 100;

-- Q3: the ten orders of the segment BUILDING of which most money was still to be shipped on 15 March 1995
select o_orderkey, sum(l_extendedprice * (1 - l_discount)) as revenue, o_orderdate, o_shippriority
from orders
join lineitem on l_orderkey = o_orderkey and l_shipdate > date '1995-03-15'
where o_orderdate < date '1995-03-15'
    and o_custkey in (select c_custkey from customer where c_mktsegment = 'BUILDING')
group by o_orderkey, o_orderdate, o_shippriority
order by revenue desc, o_orderdate, o_orderkey
limit 10;

-- Q4: orders of a quarter with an item that came later than promised, by priority
select o_orderpriority, count(*) as order_count
from orders
where o_orderdate >= date '1993-07-01' and o_orderdate < date '1993-07-01' + interval '3 months'
    and o_orderkey in (select l_orderkey from lineitem where l_commitdate < l_receiptdate)
group by o_orderpriority
order by o_orderpriority;

-- Q5: revenue in Asia in 1994 where customer and supplier are of one nation
select n_name, sum(l_extendedprice * (1 - l_discount)) as revenue
from region
join nation on n_regionkey = r_regionkey
join customer on c_nationkey = n_nationkey
join orders on o_custkey = c_custkey
join lineitem on l_orderkey = o_orderkey
join supplier on s_suppkey = l_suppkey and s_nationkey = c_nationkey
where r_name = 'ASIA' and extract(year from o_orderdate) = 1994
group by n_name
order by revenue desc, n_name;

-- Q6: what small discounts on small quantities cost in 1994
select sum(l_extendedprice * l_discount) as revenue
from lineitem
where l_shipdate >= date '1994-01-01' and l_shipdate < date '1995-01-01'
    and l_discount between 0.05 and 0.07 and l_quantity < 24;

-- Q7: what was shipped between France and Germany in 1995 and 1996
with sides as (
    select seller.n_name as supp_nation, buyer.n_name as cust_nation, s_suppkey, buyer.n_nationkey as buyer_key
    from nation as seller
    join supplier on s_nationkey = seller.n_nationkey
    join nation as buyer
        on (seller.n_name, buyer.n_name) in (('FRANCE', 'GERMANY'), ('GERMANY', 'FRANCE'))
)
select supp_nation, cust_nation, extract(year from l_shipdate) as l_year,
    sum(l_extendedprice * (1 - l_discount)) as revenue
from lineitem
join sides on s_suppkey = l_suppkey
join orders on o_orderkey = l_orderkey
join customer on c_custkey = o_custkey and c_nationkey = buyer_key
where l_shipdate between date '1995-01-01' and date '1996-12-31'
group by supp_nation, cust_nation, l_year
order by supp_nation, cust_nation, l_year;

-- Q8: Brazil's share of America's market for one type of steel
select extract(year from o_orderdate) as o_year,
    coalesce(sum(l_extendedprice * (1 - l_discount)) filter (where seller.n_name = 'BRAZIL'), 0)
        / sum(l_extendedprice * (1 - l_discount)) as mkt_share
from part
join lineitem on l_partkey = p_partkey
join supplier on s_suppkey = l_suppkey
join nation as seller on seller.n_nationkey = s_nationkey
join orders on o_orderkey = l_orderkey
join customer on c_custkey = o_custkey
join nation as buyer on buyer.n_nationkey = c_nationkey
join region on r_regionkey = buyer.n_regionkey
where r_name = 'AMERICA' and p_type = 'ECONOMY ANODIZED STEEL'
    and o_orderdate between date '1995-01-01' and date '1996-12-31'
group by o_year
order by o_year;

-- Q9: profit on green parts, by nation and year
select n_name as nation, extract(year from o_orderdate) as o_year,
    sum(l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity) as sum_profit
from part
join lineitem on l_partkey = p_partkey
join partsupp on ps_partkey = l_partkey and ps_suppkey = l_suppkey
join supplier on s_suppkey = l_suppkey
join nation on n_nationkey = s_nationkey
join orders on o_orderkey = l_orderkey
where p_name like '%green%'
group by nation, o_year
order by nation, o_year desc;

-- Q10: the twenty customers whose returns of a quarter cost most
with lost as (
    select o_custkey, sum(l_extendedprice * (1 - l_discount)) as revenue
    from orders
    join lineitem on l_orderkey = o_orderkey and l_returnflag = 'R'
    where o_orderdate >= date '1993-10-01' and o_orderdate < date '1994-01-01'
    group by o_custkey
)
select c_custkey, c_name, revenue, c_acctbal, n_name, c_address, c_phone, c_comment
from lost
join customer on c_custkey = o_custkey
join nation on n_nationkey = c_nationkey
order by revenue desc, c_custkey
limit 20;

-- Q11: which parts are a good share of Germany's stock; the share is 0.0001 at a scale of 1
with stock as (
    select ps_partkey, sum(ps_supplycost * ps_availqty) as value
    from partsupp
    join supplier on s_suppkey = ps_suppkey
    join nation on n_nationkey = s_nationkey
    where n_name = 'GERMANY'
    group by ps_partkey
)
select ps_partkey, value
from stock
where value > (select sum(value) from stock) * 0.0001 / (select count(*) / 10000.0 from supplier)
order by value desc, ps_partkey;

-- Q12: do cheap ways to ship hurt urgent orders
select l_shipmode, count(*) filter (where o_orderpriority in ('1-URGENT', '2-HIGH')) as high_line_count,
    count(*) filter (where o_orderpriority not in ('1-URGENT', '2-HIGH')) as low_line_count
from lineitem
join orders on o_orderkey = l_orderkey
where l_shipmode in ('MAIL', 'SHIP') and l_shipdate < l_commitdate and l_commitdate < l_receiptdate
    and l_receiptdate >= date '1994-01-01' and l_receiptdate < date '1995-01-01'
group by l_shipmode
order by l_shipmode;

-- Q13: how many customers have how many orders
with counted as (
    select c_custkey, count(o_orderkey) as c_count
    from customer
    left join orders on o_custkey = c_custkey and o_comment not like '%special%requests%'
    group by c_custkey
)
select c_count, count(*) as custdist
from counted
group by c_count
order by custdist desc, c_count desc;

-- Q14: what part of a month's revenue came from promotions
select 100 * coalesce(sum(l_extendedprice * (1 - l_discount)) filter (where p_type like 'PROMO%'), 0)
    / sum(l_extendedprice * (1 - l_discount)) as promo_revenue
from lineitem
join part on p_partkey = l_partkey
where l_shipdate >= date '1995-09-01' and l_shipdate < date '1995-10-01';

-- Q15: the supplier with the largest revenue of a quarter
with revenue as (
    select l_suppkey, sum(l_extendedprice * (1 - l_discount)) as total_revenue
    from lineitem
    where l_shipdate >= date '1996-01-01' and l_shipdate < date '1996-04-01'
    group by l_suppkey
)
select s_suppkey, s_name, s_address, s_phone, total_revenue
from revenue
join supplier on s_suppkey = l_suppkey
where total_revenue = (select max(total_revenue) from revenue)
order by s_suppkey;

-- Q16: how many suppliers without complaints offer parts of eight sizes
select p_brand, p_type, p_size, count(distinct ps_suppkey) as supplier_cnt
from part
join partsupp on ps_partkey = p_partkey
where p_brand <> 'Brand#45' and p_type not like 'MEDIUM POLISHED%' and p_size in (49, 14, 23, 45, 19, 3, 36, 9)
    and not exists (
        select from supplier where s_suppkey = ps_suppkey and s_comment like '%Customer%Complaints%'
    )
group by p_brand, p_type, p_size
order by supplier_cnt desc, p_brand, p_type, p_size;

-- Q17: what would be lost a year without orders of small quantities
with ordered as (
    select l_quantity, l_extendedprice, avg(l_quantity) over (partition by l_partkey) as usual
    from lineitem
    join part on p_partkey = l_partkey
    where p_brand = 'Brand#23' and p_container = 'MED BOX'
)
select sum(l_extendedprice) / 7.0 as avg_yearly
from ordered
where l_quantity < 0.2 * usual;

-- Q18: the hundred dearest orders of more than 300 pieces
with large as (
    select l_orderkey, sum(l_quantity) as pieces from lineitem group by l_orderkey having sum(l_quantity) > 300
)
select c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, pieces
from large
join orders on o_orderkey = l_orderkey
join customer on c_custkey = o_custkey
order by o_totalprice desc, o_orderdate, o_orderkey
limit 100;

-- Q19: revenue of three kinds of parts that came by air and were handed over in person
with wanted (brand, packing, least, largest) as (
    values ('Brand#12', 'SM', 1, 5), ('Brand#23', 'MED', 10, 10), ('Brand#34', 'LG', 20, 15)
)
select sum(l_extendedprice * (1 - l_discount)) as revenue
from lineitem
join part on p_partkey = l_partkey
join wanted on p_brand = brand and l_quantity between least and least + 10 and p_size between 1 and largest
    and split_part(p_container, ' ', 1) = packing
    and split_part(p_container, ' ', 2) = any (case packing
        when 'SM' then array['CASE', 'BOX', 'PACK', 'PKG']
        when 'MED' then array['BAG', 'BOX', 'PKG', 'PACK']
        else array['CASE', 'BOX', 'PACK', 'PKG'] end)
where l_shipmode in ('AIR', 'AIR REG') and l_shipinstruct = 'DELIVER IN PERSON';

-- Q20: who in Canada has more of a forest part in stock than half of what was shipped in a year
with shipped as (
    select l_partkey, l_suppkey, sum(l_quantity) as pieces
    from lineitem
    where l_shipdate >= date '1994-01-01' and l_shipdate < date '1995-01-01'
    group by l_partkey, l_suppkey
)
select s_name, s_address
from supplier
join nation on n_nationkey = s_nationkey
where n_name = 'CANADA' and exists (
    select
    from partsupp
    join part on p_partkey = ps_partkey
    join shipped on l_partkey = ps_partkey and l_suppkey = ps_suppkey
    where ps_suppkey = s_suppkey and p_name like 'forest%' and ps_availqty > 0.5 * pieces
)
order by s_name;

-- Q21: who in Saudi Arabia alone kept an order of several suppliers waiting
with parties as (
    select l_orderkey, count(distinct l_suppkey) as suppliers,
        count(distinct l_suppkey) filter (where l_receiptdate > l_commitdate) as late
    from lineitem
    group by l_orderkey
)
select s_name, count(*) as numwait
from lineitem
join parties using (l_orderkey)
join orders on o_orderkey = l_orderkey and o_orderstatus = 'F'
join supplier on s_suppkey = l_suppkey
join nation on n_nationkey = s_nationkey
where n_name = 'SAUDI ARABIA' and l_receiptdate > l_commitdate and suppliers > 1 and late = 1
group by s_name
order by numwait desc, s_name
limit 100;

-- Q22: customers of seven countries with more money than most and no order
with candidates as (
    select c_custkey, c_acctbal, substr(c_phone, 1, 2) as cntrycode
    from customer
    where substr(c_phone, 1, 2) in ('13', '31', '23', '29', '30', '18', '17')
)
select cntrycode, count(*) as numcust, sum(c_acctbal) as totacctbal
from candidates
where c_acctbal > (select avg(c_acctbal) from candidates where c_acctbal > 0)
    and not exists (select from orders where o_custkey = c_custkey)
group by cntrycode
order by cntrycode;
